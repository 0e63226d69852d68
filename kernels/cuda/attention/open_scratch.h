// Opened units: which of them a query may open, and what is noted on the way for a query and a KV
// head in the step's scratch.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/fma/slot_layout.h"
#include "kernels/fma/spec.h"

namespace fmaserver::kernels::cuda {

/// The most units that a query opens on a CUDA device.
inline constexpr int32_t kMaxOpenUnits = 1024;

/// The shared memory that the kernels of opened units may take, and the most that one of them
/// takes: 4 bytes a number of a unit's keys, of the queries of a KV head in two forms, and of the
/// scores of the unit, with some for what is in steps (scan_sketches_kernel.h).
inline constexpr int64_t kMaxOpenSharedBytes = 96 * 1024;

constexpr int64_t OpenSharedBytes(const AttentionSpec& spec) {
  const int64_t heads = spec.QueriesPerKvHead();
  const int64_t dim = SlotLayout::RoundUp(spec.head_dim, SlotLayout::kLane);
  const int64_t attends = (heads + spec.open_size) * dim + heads * spec.open_size;
  const int64_t scans = 2 * heads * (dim + 1) + 8 * dim;
  return int64_t{sizeof(float)} * std::max(attends, scans);
}

/// Units [first, end).
struct UnitRange {
  int64_t first = 0;
  int64_t end = 0;
  constexpr int64_t Count() const { return end - first; }
};

/// Those that a query at `position` may open: all that have left the near field, except units of
/// sinks only.
constexpr UnitRange OpenableUnits(const AttentionSpec& spec, int64_t position) {
  const Hierarchy& h = spec.hierarchy;
  const int64_t groups = h.FineGroup(position) - 1;
  const int64_t end = groups > 0 ? groups * (h.group_size / spec.open_size) : 0;
  const int64_t sinks = h.sink_tokens / spec.open_size;
  return {sinks < end ? sinks : end, end};
}

/// How many of them it opens.
constexpr int OpenedUnits(const AttentionSpec& spec, int64_t position) {
  const int64_t units = OpenableUnits(spec, position).Count();
  return static_cast<int>(units < spec.open_units ? units : spec.open_units);
}

/// Of a query and a KV head: scores of the units that it may open, the units that it opens in
/// order, and of each of them what its tokens give to every query head. Places in bytes.
///
///   scores       [units]           float32
///   list         [opened]          int32
///   places       [opened]          int32; UnitPlace, where there is a cache
///   largest      [opened, heads]   float32; the largest score of a token
///   totals       [opened, heads]   float32; of exp(score - largest)
///   token scores [opened, heads, u] float32
///   outputs      [opened, heads, D] float32; of exp(score - largest) * value
struct OpenScratch {
  int64_t units = 0;
  int64_t opened = 0;
  int64_t list_offset = 0;
  int64_t places_offset = 0;
  int64_t largest_offset = 0;
  int64_t totals_offset = 0;
  int64_t tokens_offset = 0;
  int64_t outputs_offset = 0;
  int64_t bytes = 0;

  constexpr OpenScratch() = default;
  constexpr OpenScratch(const AttentionSpec& spec, const SlotLayout& layout, int64_t most_units)
      : units(most_units), opened(std::min<int64_t>(spec.open_units, most_units)) {
    const int64_t heads = spec.QueriesPerKvHead();
    list_offset = units * kNumber;
    places_offset = list_offset + opened * kNumber;
    largest_offset = places_offset + opened * kNumber;
    totals_offset = largest_offset + opened * heads * kNumber;
    tokens_offset = totals_offset + opened * heads * kNumber;
    outputs_offset = tokens_offset + opened * heads * spec.open_size * kNumber;
    bytes = SlotLayout::RoundUp(outputs_offset + opened * heads * layout.padded_dim * kNumber,
                                SlotLayout::kAlignment);
  }

 private:
  static constexpr int64_t kNumber = 4;
};

}  // namespace fmaserver::kernels::cuda
