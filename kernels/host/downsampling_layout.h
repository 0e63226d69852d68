// How a layer's downsampling weights lie once they are packed, for kernels of any backend.
#pragma once

#include <cstdint>

#include "kernels/fma/slot_layout.h"
#include "kernels/fma/spec.h"

namespace fmaserver::kernels {

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

}  // namespace fmaserver::kernels
