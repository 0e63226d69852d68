// Products with integers in blocks for many rows, on tensor cores.
//
// A warp takes kStrips strips of 16 outputs and kTiles tiles of 8 rows, and walks the inputs in
// order. Weights and inputs lie in memory as the tensor core wants them, so they are loaded as they
// are; the warps of a block, which share them, find them in the first-level cache.
#pragma once

#include <cstdint>

#include "kernels/cuda/dense/integer_fragments.h"

namespace fmaserver::kernels::cuda {

/// Grid: Blocks().
template <int kBits, bool kMinima>
struct IntegerProductKernel : IntegerProduct {
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocks = 2;
  static constexpr const char* kName = "integer_product";
  static constexpr int kStrips = 2;
  static constexpr int kTiles = 4;
  static constexpr int kWarpsDown = 2;    ///< warps of a block with tiles of their own
  static constexpr int kWarpsAcross = 4;  ///< with strips of their own
  static constexpr int64_t kBlockOutputs = int64_t{kWarpsAcross} * kStrips * StripUnit::kOutputs;
  static constexpr int64_t kBlockRows = int64_t{kWarpsDown} * kTiles * TileUnit::kRows;

  static constexpr int64_t RowBlocks(int64_t rows) { return (rows + kBlockRows - 1) / kBlockRows; }
  static constexpr int64_t Blocks(int64_t out, int64_t rows) {
    return (out + kBlockOutputs - 1) / kBlockOutputs * RowBlocks(rows);
  }

  FMA_DEVICE void operator()() const {
    const int64_t row_blocks = RowBlocks(rows);
    const int64_t first_strip =
        (BlockIndex() / row_blocks * kWarpsAcross + WarpIndex() % kWarpsAcross) * kStrips;
    const int64_t first_tile =
        (BlockIndex() % row_blocks * kWarpsDown + WarpIndex() / kWarpsAcross) * kTiles;
    const int64_t strips = StripUnit::Strips(out) - first_strip;
    const int64_t tiles = TileUnit::Tiles(rows) - first_tile;
    if (strips <= 0 || tiles <= 0) return;  // the whole warp
    const std::byte* strip = weight + first_strip * units * Part::kUnit.Bytes();
    const std::byte* tile = x + first_tile * units * TileUnit::kBytes;
    const Left left = {static_cast<int>(strips < kStrips ? strips : kStrips),
                       static_cast<int>(tiles < kTiles ? tiles : kTiles)};
    FragmentC result[kStrips][kTiles];
    FMA_NO_UNROLL
    for (int64_t unit = 0; unit < units; ++unit) {
      MultiplyUnit(strip, tile, left, result);
      strip += Part::kUnit.Bytes();
      tile += TileUnit::kBytes;
    }
    StoreResults(first_strip, first_tile, result);
  }

 private:
  using Part = StripPart<kBits, kMinima>;

  /// How many strips and tiles of the warp there are. The last stands for those past the end.
  struct Left {
    int strips;
    int tiles;
  };

  /// `strip` and `tile` are the unit's of the warp's first.
  FMA_DEVICE void MultiplyUnit(const std::byte* strip, const std::byte* tile, const Left& left,
                               FragmentC (&result)[kStrips][kTiles]) const {
    Part weights[kStrips];
    FMA_UNROLL
    for (int s = 0; s < kStrips; ++s) {
      const int at = s < left.strips ? s : left.strips - 1;
      weights[s] = Part::LoadFrom(strip + at * units * Part::kUnit.Bytes());
    }
    FMA_UNROLL
    for (int i = 0; i < kTiles; ++i) {
      const int own = i < left.tiles ? i : left.tiles - 1;
      const std::byte* from = tile + own * units * TileUnit::kBytes;
      const TilePart inputs =
          TilePart::LoadFrom(from, TileUnit::kRows, kMinima || kCodesAreOver<kBits, kMinima> != 0);
      const auto scales = LoadConstant(
          reinterpret_cast<const Vec<float, 4>*>(from + TileUnit::kScalesOffset) + LaneIndex() % 4);
      FMA_UNROLL
      for (int block = 0; block < kUnitBlocks; ++block) {
        FMA_UNROLL
        for (int s = 0; s < kStrips; ++s) {
          const FragmentC sums = SumsOfBlock(weights[s], inputs, block);
          FMA_UNROLL
          for (int at = 0; at < 4; ++at) {
            float& one = result[s][i].value[at];
            one = AddBlock<kMinima>(one, sums.value[at], weights[s].Scale(block, at / 2),
                                    weights[s].Minimum(block, at / 2),
                                    scales.lane[2 * block + at % 2], inputs.Sum(block, at % 2));
          }
        }
      }
    }
  }

  FMA_DEVICE void StoreResults(int64_t first_strip, int64_t first_tile,
                               const FragmentC (&result)[kStrips][kTiles]) const {
    FMA_UNROLL
    for (int s = 0; s < kStrips; ++s) {
      FMA_UNROLL
      for (int i = 0; i < kTiles; ++i) {
        FMA_UNROLL
        for (int at = 0; at < 4; ++at) {
          const int64_t row = (first_tile + i) * TileUnit::kRows + LaneIndex() % 4 * 2 + at % 2;
          const int64_t column =
              (first_strip + s) * StripUnit::kOutputs + at / 2 * 8 + LaneIndex() / 4;
          StoreResult(row, column, result[s][i].value[at]);
        }
      }
    }
  }
};

}  // namespace fmaserver::kernels::cuda
