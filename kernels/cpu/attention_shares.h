// How a query divided its attention among the parts of what it sees.
#pragma once

#include <span>

#include "kernels/cpu/attention.h"
#include "kernels/fma/slot_layout.h"

namespace fmaserver::kernels::cpu {

/// One query's weights, each to be multiplied by `scale`; those of what it does not see are 0.
struct QueryWeights {
  std::span<const float> far;     ///< of the slot's first columns
  std::span<const float> near;    ///< of the ring
  std::span<const float> opened;  ///< of opened units
  std::span<const MissingKeys> missing;
  float scale = 0;
};

/// Adds the share of every part to `shares` [AttentionParts::Count()].
void AddShares(const SlotLayout& layout, const QueryWeights& weights, std::span<float> shares);

}  // namespace fmaserver::kernels::cpu
