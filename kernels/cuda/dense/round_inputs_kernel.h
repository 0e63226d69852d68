// Rounds the inputs of a product with integers in blocks to such integers, as
// kernels/cpu/block_linear.h says, and does before what else the product's input needs: an RMS norm
// or an activation, which are the separate operations' to the bit.
//
// A thread takes four inputs, eight of them a block.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/cuda/dense/activation.h"
#include "kernels/cuda/dense/integer_layout.h"
#include "kernels/cuda/dense/norm_kernel.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// Grid: Blocks(). Rows and blocks that fill the last tile and unit become zeros.
struct RoundInputsKernel {
  static constexpr int kThreads = 256;
  static constexpr const char* kName = "round_inputs";
  static constexpr int kLanes = kWeightBlock / 4;  ///< of a block
  static constexpr int kBlocksAtOnce = kThreads / kLanes;
  static constexpr int64_t kSharedBytes = NormKernel::kSharedBytes;

  const float* x = nullptr;  // [rows, cols]
  std::byte* out = nullptr;  // [tiles, units] of TileUnit
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t in = 0;  // of the product: cols, or with swiglu half of them
  bool x_is_aligned = false;
  const float* norm = nullptr;  // [in]; null: none
  float norm_eps = 0;
  bool activates = false;
  MlpKind activation = MlpKind::kGelu;

  static constexpr int64_t Chunks(int64_t in) {
    return (UnitsOf(in) * kUnitBlocks + kBlocksAtOnce - 1) / kBlocksAtOnce;
  }
  static constexpr int64_t Blocks(int64_t rows, int64_t in) {
    return TileUnit::Tiles(rows) * TileUnit::kRows * Chunks(in);
  }

  FMA_DEVICE void operator()() const {
    const int64_t row = BlockIndex() / Chunks(in);
    const int64_t block = BlockIndex() % Chunks(in) * kBlocksAtOnce + ThreadIndex() / kLanes;
    const int lane = ThreadIndex() % kLanes;
    Vec<float, 4> four = {};
    if (row < rows) four = Inputs(row, block * kWeightBlock + 4 * lane);
    const float largest = LargestOfBlock(four);
    const bool finite = largest < std::numeric_limits<float>::infinity();
    const bool rounds = finite && largest >= kLeast;
    const float inverse = rounds ? kMostCode / largest : 0.0F;
    uint32_t codes = 0;
    int sum = 0;
    FMA_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int code = rounds ? static_cast<int>(std::rint(four.lane[i] * inverse)) : 0;
      codes |= static_cast<uint32_t>(code & 0xFF) << (8 * i);
      sum += code;
    }
    FMA_UNROLL
    for (int lanes = 1; lanes < kLanes; lanes *= 2) sum += ShuffleXor(sum, lanes);
    if (block >= UnitsOf(in) * kUnitBlocks) return;
    std::byte* unit =
        out + (row / TileUnit::kRows * UnitsOf(in) + block / kUnitBlocks) * TileUnit::kBytes;
    const int64_t in_tile = row % TileUnit::kRows;
    const int64_t in_unit = block % kUnitBlocks;
    Store(reinterpret_cast<uint32_t*>(unit + TileUnit::CodesOffset(in_tile, in_unit, 4 * lane)),
          codes);
    if (lane != 0) return;
    const float scale = finite ? largest / kMostCode : std::numeric_limits<float>::quiet_NaN();
    std::byte* number = unit + TileUnit::NumberOffset(in_tile, in_unit);
    Store(reinterpret_cast<float*>(number + TileUnit::kScalesOffset),
          rounds || !finite ? scale : 0.0F);
    Store(reinterpret_cast<int32_t*>(number + TileUnit::kSumsOffset), sum);
  }

 private:
  static constexpr float kLeast = 0x1p-100F;
  static constexpr float kMostCode = 127;

  FMA_DEVICE bool IsGated() const { return activates && activation == MlpKind::kSwiglu; }

  /// The product's inputs [i, i + 4) of a row; zeros past its end. All threads call it.
  FMA_DEVICE Vec<float, 4> Inputs(int64_t row, int64_t i) const {
    const float* from = x + row * cols;
    Vec<float, 4> four = LoadFour(from, i);
    if (norm != nullptr) {
      SharedArena arena;
      const float scale =
          NormKernel::Scale(from, cols, 0.0F, norm_eps, arena.Take<float>(NormKernel::kWarps));
      const Vec<float, 4> gains = LoadFour(norm, i);
      FMA_UNROLL
      for (int j = 0; j < 4; ++j) four.lane[j] = four.lane[j] * scale * gains.lane[j];
    }
    if (activates) {
      const Vec<float, 4> up = IsGated() ? LoadFour(from + in, i) : Vec<float, 4>{};
      FMA_UNROLL
      for (int j = 0; j < 4; ++j) {
        four.lane[j] = i + j < in ? Activated(activation, four.lane[j], up.lane[j]) : 0.0F;
      }
    }
    return four;
  }

  FMA_DEVICE Vec<float, 4> LoadFour(const float* from, int64_t i) const {
    if (x_is_aligned && i + 4 <= in) return Load(reinterpret_cast<const Vec<float, 4>*>(from + i));
    Vec<float, 4> four = {};
    FMA_UNROLL
    for (int j = 0; j < 4; ++j) {
      if (i + j < in) four.lane[j] = Load(from + i + j);
    }
    return four;
  }

  /// The largest magnitude of the block; infinity where a number is not finite.
  FMA_DEVICE static float LargestOfBlock(const Vec<float, 4>& four) {
    float largest = 0;
    FMA_UNROLL
    for (int i = 0; i < 4; ++i) {
      const float magnitude = std::isfinite(four.lane[i]) ? std::abs(four.lane[i])
                                                          : std::numeric_limits<float>::infinity();
      largest = magnitude > largest ? magnitude : largest;
    }
    FMA_UNROLL
    for (int lanes = 1; lanes < kLanes; lanes *= 2) {
      const float other = ShuffleXor(largest, lanes);
      largest = other > largest ? other : largest;
    }
    return largest;
  }
};

}  // namespace fmaserver::kernels::cuda
