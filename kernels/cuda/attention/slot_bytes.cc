#include "kernels/cuda/attention/slot_bytes.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace fmaserver::kernels::cuda {
namespace {

/// Transposes `from` [rows, cols] into `to` [cols, rows].
template <typename T>
void Transpose(const T* from, int64_t rows, int64_t cols, T* to) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) to[c * rows + r] = from[r * cols + c];
  }
}

/// Transposes every strip of keys from [rows, cols] to [cols, rows].
template <typename T>
void TransposeAs(const SlotLayout& layout, int64_t rows, int64_t cols, std::byte* slot) {
  const int64_t strip = rows * cols;
  std::vector<T> keys(static_cast<size_t>(strip));
  for (int32_t layer = 0; layer < layout.num_layers; ++layer) {
    for (int32_t head = 0; head < layout.num_kv_heads; ++head) {
      auto* at = reinterpret_cast<T*>(slot + layout.HeadOffset(layer, head));
      for (int64_t column = 0; column < layout.columns; column += SlotLayout::kLane, at += strip) {
        std::copy_n(at, strip, keys.data());
        Transpose(keys.data(), rows, cols, at);
      }
    }
  }
}

void TransposeStrips(const SlotLayout& layout, int64_t rows, int64_t cols, std::byte* slot) {
  switch (layout.type) {
    case CacheType::kF32:
      return TransposeAs<uint32_t>(layout, rows, cols, slot);
    case CacheType::kBF16:
      return TransposeAs<uint16_t>(layout, rows, cols, slot);
    case CacheType::kInt8:
      return TransposeAs<uint8_t>(layout, rows, cols, slot);
  }
}

}  // namespace

void KeysToStrips(const SlotLayout& layout, std::span<std::byte> slot) {
  TransposeStrips(layout, SlotLayout::kLane, layout.head_dim, slot.data());
}

void KeysToRows(const SlotLayout& layout, std::span<std::byte> slot) {
  TransposeStrips(layout, layout.head_dim, SlotLayout::kLane, slot.data());
}

}  // namespace fmaserver::kernels::cuda
