// How a matrix of keys lies in memory.
#pragma once

#include <cstdint>

#include "kernels/fma/slot_layout.h"

namespace fmaserver::kernels::cpu {

/// A column for each key, in strips of SlotLayout::kLane columns. Within a strip the numbers of a
/// channel lie `channel_step` behind those of the channel before.
template <typename T>
struct KeyMatrix {
  const T* data = nullptr;
  int64_t channel_step = 0;
  int64_t strip_step = 0;

  /// A matrix [d, columns], whose strips lie side by side.
  static KeyMatrix Of(const T* data, int64_t columns) { return {data, columns, SlotLayout::kLane}; }

  /// Channel 0 of a column.
  const T* At(int64_t column) const {
    return data + column / SlotLayout::kLane * strip_step + column % SlotLayout::kLane;
  }
};

}  // namespace fmaserver::kernels::cpu
