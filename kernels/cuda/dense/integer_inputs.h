// Where the blocks of IntegerLinearKernel have their rounded inputs from. Each source has, for a
// block of threads that takes a tile of rows:
//
//   SharedMemory(in, rows)   what Tile takes of the arena
//   Tile(source, product, tile, arena)   whose Begin() all threads call once before they use it
//     Part(unit, needs_sums)   a lane's part of a unit
//     Scale(unit, row, block), Sum(unit, row, block)   of a row of the tile
#pragma once

#include <cstdint>

#include "kernels/cuda/dense/input_rounding.h"
#include "kernels/cuda/dense/integer_fragments.h"

namespace fmaserver::kernels::cuda {

/// A launch before has rounded them: IntegerProduct::x.
struct RoundedBefore {
  static constexpr int64_t SharedMemory(int64_t /*in*/, int64_t /*rows*/) { return 0; }

  class Tile {
   public:
    FMA_DEVICE Tile(const RoundedBefore& /*source*/, const IntegerProduct& product, int64_t tile,
                    SharedArena& /*arena*/)
        : tile_(product.x + tile * product.units * TileUnit::kBytes),
          rows_(product.rows - tile * TileUnit::kRows) {}

    FMA_DEVICE void Begin() const {}
    FMA_DEVICE TilePart Part(int64_t unit, bool needs_sums) const {
      return TilePart::LoadFrom(tile_ + unit * TileUnit::kBytes, rows_, needs_sums);
    }
    FMA_DEVICE float Scale(int64_t unit, int row, int block) const {
      return LoadConstant(
          reinterpret_cast<const float*>(Number(unit, row, block) + TileUnit::kScalesOffset));
    }
    FMA_DEVICE int Sum(int64_t unit, int row, int block) const {
      return LoadConstant(
          reinterpret_cast<const int32_t*>(Number(unit, row, block) + TileUnit::kSumsOffset));
    }

   private:
    FMA_DEVICE const std::byte* Number(int64_t unit, int row, int block) const {
      return tile_ + unit * TileUnit::kBytes + TileUnit::NumberOffset(row, block);
    }

    const std::byte* tile_;
    int64_t rows_;
  };
};

/// Every block rounds them for itself, into shared memory: for so few rows and inputs that this
/// costs less than a launch. There is one tile, and only its rows that exist take memory.
struct RoundedHere : FloatInputs {
  static constexpr int64_t SharedMemory(int64_t in, int64_t rows) {
    const int64_t blocks = UnitsOf(in) * kUnitBlocks * rows;
    return SharedBytes<uint32_t>(blocks * RoundedFour::kLanes) + SharedBytes<float>(blocks) +
           SharedBytes<int32_t>(blocks) + NormKernel::kSharedBytes;
  }

  class Tile {
   public:
    FMA_DEVICE Tile(const RoundedHere& source, const IntegerProduct& product, int64_t /*tile*/,
                    SharedArena& arena)
        : source_(source),
          rows_(static_cast<int>(product.rows)),
          blocks_(static_cast<int>(product.units) * kUnitBlocks),
          codes_(arena.Take<uint32_t>(blocks_ * rows_ * RoundedFour::kLanes)),
          scales_(arena.Take<float>(blocks_ * rows_)),
          sums_(arena.Take<int32_t>(blocks_ * rows_)),
          partial_(arena.Take<float>(NormKernel::kWarps)) {}

    FMA_DEVICE void Begin() const {
      for (int row = 0; row < rows_; ++row) {
        const float scale = source_.NormScale(row, partial_);
        const int fours = blocks_ * RoundedFour::kLanes;
        for (int first = 0; first < fours; first += ThreadCount()) {
          const int index = first + ThreadIndex();
          const RoundedFour rounded = RoundedFour::Of(source_.Four(row, int64_t{4} * index, scale));
          if (index >= fours) continue;
          const int lane = index % RoundedFour::kLanes;
          const int block = index / RoundedFour::kLanes;
          // As in a TileUnit, of so many rows.
          const int piece = block / kUnitBlocks * 4 * rows_ + row * 4 + lane % 4;
          codes_.Set(4 * piece + block % kUnitBlocks * 2 + lane / 4, rounded.codes);
          if (lane != 0) continue;
          scales_.Set(block * rows_ + row, rounded.scale);
          sums_.Set(block * rows_ + row, rounded.sum);
        }
      }
      SyncThreads();
    }

    FMA_DEVICE TilePart Part(int64_t unit, bool needs_sums) const {
      TilePart part = {};
      const int in_unit = static_cast<int>(unit);
      if (LaneIndex() < 4 * rows_) {
        part.codes =
            codes_.template GetAs<Vec<uint32_t, 4>>(4 * (in_unit * 4 * rows_ + LaneIndex()));
      }
      if (!needs_sums) return part;
      FMA_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int row = LaneIndex() % 4 * 2 + i % 2;
        if (row < rows_) part.sums.lane[i] = Sum(unit, row, i / 2);
      }
      return part;
    }
    FMA_DEVICE float Scale(int64_t unit, int row, int block) const {
      return scales_.Get(Number(unit, row, block));
    }
    FMA_DEVICE int Sum(int64_t unit, int row, int block) const {
      return sums_.Get(Number(unit, row, block));
    }

   private:
    FMA_DEVICE int Number(int64_t unit, int row, int block) const {
      return (static_cast<int>(unit) * kUnitBlocks + block) * rows_ + row;
    }

    const RoundedHere& source_;
    int rows_;
    int blocks_;
    Shared<uint32_t> codes_;  // [units, rows, 4, 4]
    Shared<float> scales_;    // [blocks, rows]
    Shared<int32_t> sums_;    // the same
    Shared<float> partial_;
  };
};

}  // namespace fmaserver::kernels::cuda
