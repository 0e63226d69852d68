// Rounds the inputs of a product with integers in blocks (input_rounding.h), for the products that
// do not do so themselves.
#pragma once

#include <cstdint>

#include "kernels/cuda/dense/input_rounding.h"
#include "kernels/cuda/dense/integer_layout.h"

namespace fmaserver::kernels::cuda {

/// Grid: Blocks(). Rows and blocks that fill the last tile and unit become zeros.
struct RoundInputsKernel : FloatInputs {
  static constexpr int kThreads = 256;
  static constexpr const char* kName = "round_inputs";
  static constexpr int kBlocksAtOnce = kThreads / RoundedFour::kLanes;
  static constexpr int64_t kSharedBytes = NormKernel::kSharedBytes;

  std::byte* out = nullptr;  // [tiles, units] of TileUnit
  int64_t rows = 0;

  static constexpr int64_t Chunks(int64_t in) {
    return (UnitsOf(in) * kUnitBlocks + kBlocksAtOnce - 1) / kBlocksAtOnce;
  }
  static constexpr int64_t Blocks(int64_t rows, int64_t in) {
    return TileUnit::Tiles(rows) * TileUnit::kRows * Chunks(in);
  }

  FMA_DEVICE void operator()() const {
    const int64_t row = BlockIndex() / Chunks(in);
    const int64_t block =
        BlockIndex() % Chunks(in) * kBlocksAtOnce + ThreadIndex() / RoundedFour::kLanes;
    const int lane = ThreadIndex() % RoundedFour::kLanes;
    Vec<float, 4> four = {};
    if (row < rows) {
      SharedArena arena;
      const float scale = NormScale(row, arena.Take<float>(NormKernel::kWarps));
      four = Four(row, block * kWeightBlock + 4 * lane, scale);
    }
    const RoundedFour rounded = RoundedFour::Of(four);
    if (block >= UnitsOf(in) * kUnitBlocks) return;
    std::byte* unit =
        out + (row / TileUnit::kRows * UnitsOf(in) + block / kUnitBlocks) * TileUnit::kBytes;
    const int64_t in_tile = row % TileUnit::kRows;
    const int64_t in_unit = block % kUnitBlocks;
    Store(reinterpret_cast<uint32_t*>(unit + TileUnit::CodesOffset(in_tile, in_unit, 4 * lane)),
          rounded.codes);
    if (lane != 0) return;
    std::byte* number = unit + TileUnit::NumberOffset(in_tile, in_unit);
    Store(reinterpret_cast<float*>(number + TileUnit::kScalesOffset), rounded.scale);
    Store(reinterpret_cast<int32_t*>(number + TileUnit::kSumsOffset), rounded.sum);
  }
};

}  // namespace fmaserver::kernels::cuda
