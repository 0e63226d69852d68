// The input of the attention's kernels: a layer's weights and a step's rows, as plain data in
// device memory. Two launches with equal data do the same to what lies in memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/attention/unit_cache.h"
#include "kernels/fma/slot_layout.h"
#include "kernels/fma/spec.h"
#include "kernels/host/downsampling_layout.h"

namespace fmaserver::kernels::cuda {

/// One attention layer. The pointers are device memory and belong to PackedAttention.
struct DeviceAttention {
  AttentionSpec spec;
  DownsamplingLayout downsampling_layout;
  const float* downsampling = nullptr;  ///< [2 or 3, floats]: of keys, of values, perhaps of
                                        ///< queries; average: null
  const float* far_bias = nullptr;      ///< [H, L]: the level's bias and ln c_l
  const double* frequencies = nullptr;  ///< [d/2] in rotations per token; rotary positions only
  const float* query_norm = nullptr;    ///< [d] RMS norm of every query head; null: none is normed
  const float* key_norm = nullptr;      ///< [d], of every key head
  float norm_eps = 0;
  float query_scale = 0;  ///< QueryScale()

  bool operator==(const DeviceAttention&) const = default;
};

/// A segment of one row or, with selected tokens, any row. A row without a slot pads the batch:
/// nothing is read or written for it.
struct DecodeRow {
  std::byte* slot = nullptr;
  int64_t position = 0;
  int64_t row = 0;    ///< of the step's matrices
  int64_t copy = -1;  ///< where a copy of the slot's heads lies in the scratch, in the slot's place
  int64_t archive = -1;  ///< first group of its archive in DevicePlan::archive; -1: opens no units
  int64_t unit_weights = -1;  ///< its place in DevicePlan::unit_weights; -1: nobody wants them
  int64_t shares = -1;        ///< likewise in DevicePlan::attention_shares
};

/// A group of an archive; see ArchiveLayout.
struct DeviceGroup {
  std::byte* tokens = nullptr;  ///< in host memory, where the device finds it
  std::byte* sketches = nullptr;
  uint64_t identity = 0;  ///< of what was written to it last: 1 or more, and nobody else's
};

/// A segment of several rows.
struct PrefillSegment {
  std::byte* slot = nullptr;
  int64_t position = 0;
  int64_t first_row = 0;  ///< of the step's matrices
  int64_t rows = 0;
  int64_t scratch = 0;  ///< where its PrefillScratch begins, in bytes
  int64_t shares = -1;  ///< of its last row, as in DecodeRow
};

/// A group that tokens of a segment fall into, at a level that is summed from tokens.
struct GroupTask {
  int64_t group = 0;
  int32_t segment = 0;
  int32_t level = 0;
};

/// Rows of a segment that lie in one fine group, so that they share one list of keys.
struct QueryBlock {
  static constexpr int kMaxRows = 64;

  int64_t first = 0;  ///< of the segment's rows; with selected tokens of DevicePlan::rows
  int32_t rows = 0;   ///< up to kMaxRows
  int32_t segment = 0;
};

/// With selected tokens: blocks of different segments, which are attended to together. The next
/// block of a segment can only come after it, because what was attended to decides what it sees.
struct Wave {
  int64_t first_row = 0;  ///< of DevicePlan::rows
  int64_t rows = 0;
  int64_t first_block = 0;  ///< of DevicePlan::blocks
  int64_t blocks = 0;
  bool chooses = false;  ///< groups come into view

  bool operator==(const Wave&) const = default;
};

/// A step's attention in device memory. There may be more decode rows than the step has; the rest
/// are zeros.
struct DevicePlan {
  const DecodeRow* decode = nullptr;
  const PrefillSegment* segments = nullptr;
  const GroupTask* groups = nullptr;
  const QueryBlock* blocks = nullptr;
  const DecodeRow* rows = nullptr;  ///< selected tokens: of the waves, which are in host memory
  const Wave* waves = nullptr;
  const DeviceGroup* archive = nullptr;  ///< of all rows that open units
  DeviceUnitCache unit_cache;
  float* unit_weights = nullptr;      ///< Segment::unit_weights of several; null: nobody wants any
  float* attention_shares = nullptr;  ///< likewise
  std::byte* scratch = nullptr;
  int64_t open_scratch = 0;  ///< where what rows open begins in the scratch, in bytes
  int64_t most_units = 0;    ///< no row has more to open; 0: no row of the step opens any
  int64_t decode_rows = 0;
  int64_t num_segments = 0;
  int64_t num_appended = 0;  ///< segments at the list's beginning that their slots take
  int64_t num_groups = 0;
  int64_t num_blocks = 0;
  int64_t num_waves = 0;

  bool operator==(const DevicePlan&) const = default;
};

}  // namespace fmaserver::kernels::cuda
