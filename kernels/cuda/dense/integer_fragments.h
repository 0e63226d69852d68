// What the kernels for products with integers in blocks share: units of weights and of inputs in
// registers, and the exact sums of a block.
//
// The definition is that of kernels/cpu/block_linear.h, down to the bits: the blocks of a row are
// added in their order, with fused multiply-adds. So a row's result depends neither on other rows
// nor on the kernel that computes it.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/cuda/dense/integer_layout.h"
#include "kernels/cuda/runtime/element.h"
#include "kernels/cuda/runtime/tensor_core.h"

namespace fmaserver::kernels::cuda {

/// y = x W^T + b, or y += x W^T + b.
struct IntegerProduct {
  const std::byte* weight = nullptr;  ///< [strips, units] of StripUnit
  const std::byte* x = nullptr;       ///< [tiles, units] of TileUnit
  const float* bias = nullptr;        ///< [out]; null: none
  float* y = nullptr;                 ///< [rows, out]
  int64_t units = 0;
  int64_t out = 0;
  int64_t rows = 0;
  bool accumulate = false;

  FMA_DEVICE void StoreResult(int64_t row, int64_t column, float sum) const {
    if (row >= rows || column >= out) return;
    float value = bias != nullptr ? sum + LoadConstant(bias + column) : sum;
    float* to = y + row * out + column;
    if (accumulate) value += Load(to);
    Store(to, value);
  }
};

/// A lane's part of a unit of a strip, with codes of kBits bits.
template <int kBits, bool kMinima>
struct StripPart {
  static constexpr StripUnit kUnit = {kBits == 8 ? WeightFormat::kInt8 : WeightFormat::kInt4,
                                      kMinima};
  static constexpr int kPieces = kBits == 8 ? 2 : 1;
  using Piece = Vec<uint32_t, 4>;
  using Halves = Vec<Float16, 2 * kUnitBlocks>;

  Piece codes[kPieces];
  Halves scales;
  Halves minima;

  FMA_DEVICE static StripPart LoadFrom(const std::byte* unit) {
    StripPart part = {};
    const auto* codes = reinterpret_cast<const Piece*>(unit) + LaneIndex();
    FMA_UNROLL
    for (int i = 0; i < kPieces; ++i) part.codes[i] = LoadConstant(codes + i * kWarpSize);
    const int g = LaneIndex() / 4;
    part.scales = LoadConstant(reinterpret_cast<const Halves*>(unit + kUnit.ScalesOffset()) + g);
    if constexpr (kMinima) {
      part.minima = LoadConstant(reinterpret_cast<const Halves*>(unit + kUnit.MinimaOffset()) + g);
    }
    return part;
  }

  FMA_DEVICE BytesA Block(int block) const {
    if constexpr (kBits == 8) {
      const Piece& piece = codes[block];
      return {{piece.lane[0], piece.lane[1], piece.lane[2], piece.lane[3]}};
    } else {
      const uint32_t low = codes[0].lane[2 * block];
      const uint32_t high = codes[0].lane[2 * block + 1];
      constexpr uint32_t kNibbles = 0x0F0F0F0F;
      return {{low & kNibbles, high & kNibbles, (low >> 4) & kNibbles, (high >> 4) & kNibbles}};
    }
  }
  /// Of output g, or with `high` of g + 8.
  FMA_DEVICE float Scale(int block, int high) const {
    return AsFloat(scales.lane[2 * block + high]);
  }
  FMA_DEVICE float Minimum(int block, int high) const {
    return AsFloat(minima.lane[2 * block + high]);
  }
};

/// A lane's part of a unit of a tile.
struct TilePart {
  Vec<uint32_t, 4> codes;
  Vec<int32_t, 4> sums;

  /// Lanes of rows from `rows` on have zeros, as if these rows were zeros. Sums are loaded only
  /// where somebody needs them.
  FMA_DEVICE static TilePart LoadFrom(const std::byte* unit, int64_t rows, bool needs_sums) {
    TilePart part = {};
    if (LaneIndex() / 4 < rows) {
      part.codes = LoadConstant(reinterpret_cast<const Vec<uint32_t, 4>*>(unit) + LaneIndex());
    }
    if (needs_sums) {
      const auto* sums = reinterpret_cast<const Vec<int32_t, 4>*>(unit + TileUnit::kSumsOffset);
      part.sums = LoadConstant(sums + LaneIndex() % 4);
    }
    return part;
  }

  FMA_DEVICE BytesB Block(int block) const {
    return {{codes.lane[2 * block], codes.lane[2 * block + 1]}};
  }
  /// Of the codes of row 2t or 2t + 1.
  FMA_DEVICE int Sum(int block, int odd) const { return sums.lane[2 * block + odd]; }
};

/// The bits of 1.5 * 2^23: with a whole number below 2^22 added, those of the sum of the two.
inline constexpr int kWholeBits = 0x4B400000;
inline constexpr float kWhole = 0x1.8p23F;

/// By how much codes are above what they stand for.
template <int kBits, bool kMinima>
inline constexpr int kCodesAreOver = kBits == 4 && !kMinima ? 8 : 0;

/// The exact sums of a block's products of codes, as c.value (tensor_core.h). They are formed as
/// floats' bits, because converting them would take longer than multiplying.
template <int kBits, bool kMinima>
FMA_DEVICE FragmentC SumsOfBlock(const StripPart<kBits, kMinima>& weights, const TilePart& x,
                                 int block) {
  constexpr int kOver = kCodesAreOver<kBits, kMinima>;
  IntegersC sums;
  FMA_UNROLL
  for (int i = 0; i < 4; ++i) sums.value[i] = kWholeBits - kOver * x.Sum(block, i % 2);
  MultiplyAdd(weights.Block(block), x.Block(block), &sums);
  FragmentC exact;
  FMA_UNROLL
  for (int i = 0; i < 4; ++i) exact.value[i] = std::bit_cast<float>(sums.value[i]) - kWhole;
  return exact;
}

/// What a block adds to a result: `sum` of products of codes, the `scale` and `minimum` of the
/// weights, and of the input its scale and the sum of its codes.
template <bool kMinima>
FMA_DEVICE float AddBlock(float result, float sum, float scale, float minimum, float x_scale,
                          int x_sum) {
  result = std::fma(sum, scale * x_scale, result);
  if constexpr (kMinima) {
    result = std::fma(minimum, x_scale * static_cast<float>(x_sum), result);
  }
  return result;
}

}  // namespace fmaserver::kernels::cuda
