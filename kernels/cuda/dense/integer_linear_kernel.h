// Products with integers in blocks for few rows: bound by the bandwidth with which the weights
// arrive.
//
// A block takes a strip of 16 outputs and a tile of 8 rows. Its warps divide the inputs among
// themselves in rounds of kDepth units, and leave the exact sums of each block of inputs in shared
// memory, where a thread takes a result and adds them in the order of the inputs. While it does so,
// the weights of the next round are on their way.
#pragma once

#include <cstdint>

#include "kernels/cuda/dense/integer_fragments.h"
#include "kernels/cuda/dense/integer_inputs.h"

namespace fmaserver::kernels::cuda {

/// Grid: Blocks(); the tiles of a strip are neighbours, so that they find its weights in the
/// caches. Inputs: RoundedBefore or RoundedHere.
template <int kBits, bool kMinima, class Inputs>
struct IntegerLinearKernel : IntegerProduct {
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocks = 4;
  static constexpr const char* kName = "integer_linear";
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr int kDepth = 2;
  static constexpr int kRound = kWarps * kDepth;  ///< units
  static constexpr int kOutputs = StripUnit::kOutputs;
  static constexpr int kRows = TileUnit::kRows;
  static constexpr int kStride = 20;  ///< of a row of sums, against bank conflicts
  static constexpr int kBlockSums = kRows * kStride;

  Inputs inputs;

  static constexpr int64_t SharedMemory(int64_t in, int64_t rows) {
    constexpr int64_t kBlocks = int64_t{kRound} * kUnitBlocks;
    return SharedBytes<float>(kBlocks * kBlockSums) +
           (kMinima ? 2 : 1) * SharedBytes<float>(kBlocks * kOutputs) +
           Inputs::SharedMemory(in, rows);
  }
  static constexpr int64_t Blocks(int64_t out, int64_t rows) {
    return StripUnit::Strips(out) * TileUnit::Tiles(rows);
  }

  FMA_DEVICE void operator()() const {
    SharedArena arena;
    const Memory memory(arena);
    const int64_t tiles = TileUnit::Tiles(rows);
    const std::byte* strip = weight + BlockIndex() / tiles * units * Part::kUnit.Bytes();
    const Tile tile(inputs, *this, BlockIndex() % tiles, arena);
    const int64_t rows_left = rows - BlockIndex() % tiles * kRows;
    const int row = ThreadIndex() / kOutputs;
    const int output = ThreadIndex() % kOutputs;
    const bool has_result = row < kRows && row < rows_left;
    float result = 0;
    Loaded next = {};
    LoadWeights(strip, 0, &next);
    tile.Begin();
    LoadInputs(tile, 0, &next);
    FMA_NO_UNROLL
    for (int64_t first = 0; first < units; first += kRound) {
      Multiply(memory, next, first, rows_left);
      next = {};
      LoadWeights(strip, first + kRound, &next);
      LoadInputs(tile, first + kRound, &next);
      SyncThreads();
      if (has_result) result = AddRound(memory, tile, first, row, output, result);
      SyncThreads();
    }
    if (!has_result) return;
    StoreResult(BlockIndex() % tiles * kRows + row, BlockIndex() / tiles * kOutputs + output,
                result);
  }

 private:
  using Part = StripPart<kBits, kMinima>;
  using Tile = typename Inputs::Tile;

  struct Memory {
    static constexpr int kBlocks = kRound * kUnitBlocks;

    Shared<float> sum;      // [blocks of a round, kRows, kStride]
    Shared<float> scale;    // [blocks of a round, kOutputs]
    Shared<float> minimum;  // the same

    FMA_DEVICE explicit Memory(SharedArena& arena)
        : sum(arena.Take<float>(kBlocks * kBlockSums)),
          scale(arena.Take<float>(kBlocks * kOutputs)),
          minimum(arena.Take<float>(kMinima ? kBlocks * kOutputs : 0)) {}
  };

  struct Loaded {
    Part weights[kDepth];
    TilePart x[kDepth];
  };

  /// The warp's units of the round that begins with unit `first`; none past the last.
  FMA_DEVICE void LoadWeights(const std::byte* strip, int64_t first, Loaded* loaded) const {
    FMA_UNROLL
    for (int depth = 0; depth < kDepth; ++depth) {
      const int64_t unit = first + depth * kWarps + WarpIndex();
      if (unit < units) loaded->weights[depth] = Part::LoadFrom(strip + unit * Part::kUnit.Bytes());
    }
  }
  FMA_DEVICE void LoadInputs(const Tile& tile, int64_t first, Loaded* loaded) const {
    FMA_UNROLL
    for (int depth = 0; depth < kDepth; ++depth) {
      const int64_t unit = first + depth * kWarps + WarpIndex();
      if (unit < units) loaded->x[depth] = tile.Part(unit, kCodesAreOver<kBits, kMinima> != 0);
    }
  }

  FMA_DEVICE void Multiply(const Memory& memory, const Loaded& loaded, int64_t first,
                           int64_t rows_left) const {
    const int g = LaneIndex() / 4;
    const int t = LaneIndex() % 4;
    FMA_UNROLL
    for (int depth = 0; depth < kDepth; ++depth) {
      const int unit = depth * kWarps + WarpIndex();
      if (first + unit >= units) continue;  // the whole warp
      FMA_UNROLL
      for (int block = 0; block < kUnitBlocks; ++block) {
        const Part& weights = loaded.weights[depth];
        const FragmentC sums = SumsOfBlock(weights, loaded.x[depth], block);
        const int at = unit * kUnitBlocks + block;
        FMA_UNROLL
        for (int i = 0; i < 4; ++i) {
          const int row = 2 * t + i % 2;
          if (row >= rows_left) continue;
          memory.sum.Set(at * kBlockSums + row * kStride + i / 2 * 8 + g, sums.value[i]);
        }
        if (t != 0) continue;
        FMA_UNROLL
        for (int high = 0; high < 2; ++high) {
          memory.scale.Set(at * kOutputs + 8 * high + g, weights.Scale(block, high));
          if constexpr (kMinima) {
            memory.minimum.Set(at * kOutputs + 8 * high + g, weights.Minimum(block, high));
          }
        }
      }
    }
  }

  FMA_DEVICE float AddRound(const Memory& memory, const Tile& tile, int64_t first, int row,
                            int output, float result) const {
    const int count = units - first < kRound ? static_cast<int>(units - first) : kRound;
    for (int unit = 0; unit < count; ++unit) {
      FMA_UNROLL
      for (int block = 0; block < kUnitBlocks; ++block) {
        const int at = unit * kUnitBlocks + block;
        const float x_scale = tile.Scale(first + unit, row, block);
        float minimum = 0;
        int x_sum = 0;
        if constexpr (kMinima) {
          minimum = memory.minimum.Get(at * kOutputs + output);
          x_sum = tile.Sum(first + unit, row, block);
        }
        result =
            AddBlock<kMinima>(result, memory.sum.Get(at * kBlockSums + row * kStride + output),
                              memory.scale.Get(at * kOutputs + output), minimum, x_scale, x_sum);
      }
    }
    return result;
  }
};

}  // namespace fmaserver::kernels::cuda
