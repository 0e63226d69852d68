#include "kernels/cuda/attention/slot_bytes.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace fmaserver::kernels::cuda {
namespace {

/// Transposes `from` [rows, cols] into `to` [cols, rows], in squares that stay in the first-level
/// cache.
template <typename T>
void Transpose(const T* from, int64_t rows, int64_t cols, T* to) {
  constexpr int64_t kSquare = 32;
  for (int64_t row = 0; row < rows; row += kSquare) {
    for (int64_t col = 0; col < cols; col += kSquare) {
      const int64_t end_row = std::min(row + kSquare, rows);
      const int64_t end_col = std::min(col + kSquare, cols);
      for (int64_t r = row; r < end_row; ++r) {
        for (int64_t c = col; c < end_col; ++c) to[c * rows + r] = from[r * cols + c];
      }
    }
  }
}

template <typename T>
void TransposeKeysAs(const SlotLayout& layout, int64_t rows, int64_t cols, std::byte* slot) {
  std::vector<T> keys(static_cast<size_t>(rows * cols));
  for (int32_t layer = 0; layer < layout.num_layers; ++layer) {
    for (int32_t head = 0; head < layout.num_kv_heads; ++head) {
      auto* const matrix = reinterpret_cast<T*>(slot + layout.HeadOffset(layer, head));
      std::copy_n(matrix, keys.size(), keys.data());
      Transpose(keys.data(), rows, cols, matrix);
    }
  }
}

/// Transposes every key matrix of a slot from [rows, cols] to [cols, rows].
void TransposeKeys(const SlotLayout& layout, int64_t rows, int64_t cols, std::byte* slot) {
  switch (layout.type) {
    case CacheType::kF32:
      return TransposeKeysAs<uint32_t>(layout, rows, cols, slot);
    case CacheType::kBF16:
      return TransposeKeysAs<uint16_t>(layout, rows, cols, slot);
    case CacheType::kInt8:
      return TransposeKeysAs<uint8_t>(layout, rows, cols, slot);
  }
}

}  // namespace

void KeysToColumns(const SlotLayout& layout, std::span<std::byte> slot) {
  TransposeKeys(layout, layout.columns, layout.head_dim, slot.data());
}

void KeysToRows(const SlotLayout& layout, std::span<std::byte> slot) {
  TransposeKeys(layout, layout.head_dim, layout.columns, slot.data());
}

}  // namespace fmaserver::kernels::cuda
