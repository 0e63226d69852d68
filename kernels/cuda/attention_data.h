// What the attention's kernels are told: a layer's weights and a step's rows, as plain data in
// device memory. Two launches with equal data do the same with what lies in memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/fma/slot_layout.h"
#include "kernels/fma/spec.h"

namespace fmaserver::kernels::cuda {

/// Where the downsampling weights of one kind lie, in floats. For each index (DownsamplingIndex):
/// bias [p, D], then taps [inputs, p, D], for conv [inputs, p, d, D] with D the output channel.
struct DownsamplingLayout {
  int64_t vector = 0;  ///< p * D
  int64_t mixed = 1;   ///< input channels of an output: d for conv
  int64_t group_size = 0;
  int64_t merge_inputs = 0;  ///< taps of an index above 0 when hierarchical; else 0
  int64_t floats = 0;        ///< of all indices together

  constexpr DownsamplingLayout() = default;
  explicit constexpr DownsamplingLayout(const AttentionSpec& spec)
      : vector(spec.hierarchy.rank * SlotLayout::RoundUp(spec.head_dim, SlotLayout::kLane)),
        mixed(spec.downsampling == Downsampling::kConv ? spec.head_dim : 1),
        group_size(spec.hierarchy.group_size),
        merge_inputs(spec.downsampling == Downsampling::kHierarchical
                         ? 2 * int64_t{spec.hierarchy.rank}
                         : 0) {
    floats = Bias(NumDownsamplingWeights(spec));
  }

  constexpr int64_t Bias(int index) const { return (TapsBefore(index) * mixed + index) * vector; }
  constexpr int64_t Taps(int index, int64_t input) const {
    return Bias(index) + vector + input * mixed * vector;
  }

  constexpr bool operator==(const DownsamplingLayout&) const = default;

 private:
  constexpr int64_t TapsBefore(int index) const {
    if (index == 0) return 0;
    if (merge_inputs > 0) return group_size + (index - 1) * merge_inputs;
    return group_size * ((int64_t{1} << index) - 1);
  }
};

/// One attention layer. The pointers are device memory and belong to PackedAttention.
struct DeviceAttention {
  AttentionSpec spec;
  DownsamplingLayout downsampling_layout;
  const float* downsampling = nullptr;  ///< [2, floats]: of keys, of values; average: null
  const float* far_bias = nullptr;      ///< [H, L]: the level's bias and ln c_l
  const double* frequencies = nullptr;  ///< [d/2] in turns per token; rotary positions only

  bool operator==(const DeviceAttention&) const = default;
};

/// A segment of one row. A row without a slot pads the batch: nothing is read or written for it.
struct DecodeRow {
  std::byte* slot = nullptr;
  int64_t position = 0;
  int64_t row = 0;  ///< of the step's matrices
};

/// A segment of several rows.
struct PrefillSegment {
  std::byte* slot = nullptr;
  int64_t position = 0;
  int64_t first_row = 0;  ///< of the step's matrices
  int64_t rows = 0;
  int64_t scratch = 0;  ///< where its PrefillScratch begins, in bytes
};

/// One group of one level that tokens of a segment fall into, at a level that tokens feed.
struct GroupTask {
  int64_t group = 0;
  int32_t segment = 0;
  int32_t level = 0;
};

/// Rows of a segment that lie in one fine group, so that they share one list of keys.
struct QueryBlock {
  static constexpr int kMaxRows = 64;

  int64_t first = 0;  ///< of the segment's rows
  int32_t rows = 0;   ///< up to kMaxRows
  int32_t segment = 0;
};

/// A step's attention in device memory. Decode rows may exceed what the step has: zeros follow.
struct DevicePlan {
  const DecodeRow* decode = nullptr;
  const PrefillSegment* segments = nullptr;
  const GroupTask* groups = nullptr;
  const QueryBlock* blocks = nullptr;
  std::byte* scratch = nullptr;
  int64_t decode_rows = 0;
  int64_t num_segments = 0;
  int64_t num_groups = 0;
  int64_t num_blocks = 0;

  bool operator==(const DevicePlan&) const = default;
};

}  // namespace fmaserver::kernels::cuda
