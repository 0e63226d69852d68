// Embedding from tables of elements and of integers in blocks.
#pragma once

#include <cstdint>

#include "kernels/cuda/dense/integer_layout.h"
#include "kernels/cuda/dense/pointwise_kernel.h"

namespace fmaserver::kernels::cuda {

/// [., cols], rows `pitch` elements apart.
template <typename T>
struct ElementTable {
  const T* data = nullptr;
  int64_t pitch = 0;

  FMA_DEVICE float At(int64_t row, int64_t col) const {
    return AsFloat(LoadConstant(data + row * pitch + col));
  }
};

/// [strips, units] of `unit`.
struct IntegerTable {
  const std::byte* data = nullptr;
  StripUnit unit;
  int64_t units = 0;  ///< of a row

  FMA_DEVICE float At(int64_t row, int64_t col) const {
    constexpr int64_t kUnitInputs = kUnitBlocks * kWeightBlock;
    const int64_t strip = row / StripUnit::kOutputs;
    const int64_t out = row % StripUnit::kOutputs;
    const int64_t block = col % kUnitInputs / kWeightBlock;
    const std::byte* from = data + (strip * units + col / kUnitInputs) * unit.Bytes();
    const int64_t half = StripUnit::HalfOffset(out, block);
    const float scale = Half(from + unit.ScalesOffset() + half);
    const float scaled = scale * static_cast<float>(Code(from, out, block, col % kWeightBlock));
    // The product of a float16 and a code is exact, so it does not matter whether these are fused.
    return unit.has_minima ? scaled + Half(from + unit.MinimaOffset() + half) : scaled;
  }

 private:
  /// What a code stands for in units of the scale.
  FMA_DEVICE int Code(const std::byte* from, int64_t out, int64_t block, int64_t i) const {
    const int64_t at = unit.CodeOffset(out, block, i);
    const uint32_t four = LoadConstant(reinterpret_cast<const uint32_t*>(from + at / 4 * 4));
    const uint32_t byte = four >> (at % 4 * 8) & 0xFF;
    if (unit.format == WeightFormat::kInt8) return static_cast<int8_t>(byte);
    const auto code = static_cast<int>(i < kWeightBlock / 2 ? byte & 0xF : byte >> 4);
    return unit.has_minima ? code : code - 8;
  }

  FMA_DEVICE static float Half(const std::byte* from) {
    return AsFloat(LoadConstant(reinterpret_cast<const Float16*>(from)));
  }
};

/// x[i] = table[ids[i]], or x[i] += table[ids[i]]; see Backend::Embed.
template <class Table>
struct EmbedKernel : Pointwise {
  static constexpr const char* kName = "embed";

  const int64_t* ids = nullptr;  // [rows]
  Table table;
  float* x = nullptr;  // [rows, cols]
  int64_t cols = 0;
  bool accumulate = false;

  FMA_DEVICE void operator()() const {
    const Element here = Here(cols);
    if (here.col >= cols) return;
    float value = table.At(Load(ids + here.row), here.col);
    float* to = x + here.row * cols + here.col;
    if (accumulate) value += Load(to);
    Store(to, value);
  }
};

}  // namespace fmaserver::kernels::cuda
