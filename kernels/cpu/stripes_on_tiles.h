// Stripes of bfloat16 weights times rows of inputs that were cut into three parts, on matrix tiles
// (tile_linear.h).
#pragma once

#include "kernels/cpu/tile_linear.h"
#include "kernels/cpu/tiles.h"

#if HWY_ARCH_X86_64

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

namespace fmaserver::kernels::cpu {
namespace stripes_on_tiles {

constexpr int64_t kParts = TileInput::kParts;
constexpr int64_t kRows = TileInput::kRows;
constexpr int64_t kTile = TileInput::kTile;
constexpr int64_t kOutputs = TileLinear::kOutputs;
constexpr int64_t kStripe = TileLinear::kStripe;

/// Sums of the parts of two blocks.
struct alignas(64) StripeSums {
  float at[2][kRows * kParts + 1][kStripe];
};
constexpr int64_t kSumsRowBytes = sizeof(StripeSums::at[0][0]);

/// Tiles 0 and 1 hold sums and tile 4 inputs of one block, 2, 3 and 5 those of another; 6 and 7
/// hold weights.
inline TileConfig Shapes(int64_t rows, int64_t other_rows) {
  TileConfig config;
  for (const int tile : {0, 1, 4}) config.Shape(tile, rows * kParts, kTileRowBytes);
  for (const int tile : {2, 3, 5}) {
    config.Shape(tile, std::max<int64_t>(1, other_rows * kParts), kTileRowBytes);
  }
  for (const int tile : {6, 7}) config.Shape(tile, kTileRows, kTileRowBytes);
  return config;
}

/// Prefetches weights that are needed soon. They are too far ahead for the loads that the processor
/// starts by itself while it waits for sums.
inline void PrefetchTile(const BFloat16* weights) {
  constexpr int64_t kAhead = 4 * kTile;
  constexpr int64_t kLine = 64 / sizeof(BFloat16);
  for (int64_t i = 0; i < kTile; i += kLine) __builtin_prefetch(weights + kAhead + i);
}

template <class Tiles>
void SumBlock(const BFloat16* inputs, const BFloat16* weights, int64_t chunks, StripeSums& sums) {
  Tiles::template Zero<0>();
  Tiles::template Zero<1>();
  for (int64_t chunk = 0; chunk < chunks; ++chunk, inputs += kTile, weights += 2 * kTile) {
    Tiles::template Load<4>(inputs, kTileRowBytes);
    PrefetchTile(weights);
    Tiles::template Load<6>(weights, kTileRowBytes);
    Tiles::template MultiplyBFloat16<0, 4, 6>();
    PrefetchTile(weights + kTile);
    Tiles::template Load<7>(weights + kTile, kTileRowBytes);
    Tiles::template MultiplyBFloat16<1, 4, 7>();
  }
  Tiles::template Store<0>(&sums.at[0][0][0], kSumsRowBytes);
  Tiles::template Store<1>(&sums.at[0][0][kOutputs], kSumsRowBytes);
}

template <class Tiles>
void SumTwoBlocks(const BFloat16* inputs, const BFloat16* other, const BFloat16* weights,
                  int64_t chunks, StripeSums& sums) {
  Tiles::template Zero<0>();
  Tiles::template Zero<1>();
  Tiles::template Zero<2>();
  Tiles::template Zero<3>();
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    Tiles::template Load<4>(inputs, kTileRowBytes);
    Tiles::template Load<5>(other, kTileRowBytes);
    Tiles::template Load<6>(weights, kTileRowBytes);
    Tiles::template Load<7>(weights + kTile, kTileRowBytes);
    Tiles::template MultiplyBFloat16<0, 4, 6>();
    Tiles::template MultiplyBFloat16<1, 4, 7>();
    Tiles::template MultiplyBFloat16<2, 5, 6>();
    Tiles::template MultiplyBFloat16<3, 5, 7>();
    inputs += kTile;
    other += kTile;
    weights += 2 * kTile;
  }
  Tiles::template Store<0>(&sums.at[0][0][0], kSumsRowBytes);
  Tiles::template Store<1>(&sums.at[0][0][kOutputs], kSumsRowBytes);
  Tiles::template Store<2>(&sums.at[1][0][0], kSumsRowBytes);
  Tiles::template Store<3>(&sums.at[1][0][kOutputs], kSumsRowBytes);
}

/// Stores up to a stripe of outputs of one row, computed from the sums of its parts. `bias` is that
/// of the stripe, or null.
FMA_TILE_CODE inline void StoreRow(const float* parts, const float* bias, bool accumulate,
                                   int64_t outputs, float* y) {
  for (int64_t o = 0; o < outputs; o += 16) {
    const auto mask = static_cast<__mmask16>((1U << std::min<int64_t>(outputs - o, 16)) - 1);
    __m512 sum = _mm512_load_ps(parts + o + 2 * kStripe);
    sum = _mm512_add_ps(sum, _mm512_load_ps(parts + o + kStripe));
    sum = _mm512_add_ps(sum, _mm512_load_ps(parts + o));
    if (bias != nullptr) sum = _mm512_add_ps(sum, _mm512_load_ps(bias + o));
    if (accumulate) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, y + o));
    _mm512_mask_storeu_ps(y + o, mask, sum);
  }
}

}  // namespace stripes_on_tiles

template <class Tiles>
void MultiplyStripesOnTiles(const StripesOnTiles& work) {
  using namespace stripes_on_tiles;  // NOLINT: the parts of this function
  StripeSums sums;
  int64_t configured = 0;
  for (int64_t stripe = work.first; stripe < work.end; ++stripe) {
    const BFloat16* weights = work.weights + stripe * work.chunks * 2 * kTile;
    const int64_t first_out = stripe * kStripe;
    const float* bias = work.bias == nullptr ? nullptr : work.bias + first_out;
    for (int64_t row = 0; row < work.y.rows; row += 2 * kRows) {
      const int64_t rows = std::min(work.y.rows - row, 2 * kRows);
      if (rows != configured) Tiles::Configure(Shapes(std::min(rows, kRows), rows - kRows));
      configured = rows;
      const BFloat16* inputs = work.input.Block(row / kRows);
      if (rows > kRows) {
        const BFloat16* other = work.input.Block(row / kRows + 1);
        SumTwoBlocks<Tiles>(inputs, other, weights, work.chunks, sums);
      } else {
        SumBlock<Tiles>(inputs, weights, work.chunks, sums);
      }
      for (int64_t r = 0; r < rows; ++r) {
        StoreRow(sums.at[r / kRows][r % kRows * kParts], bias, work.accumulate,
                 std::min(kStripe, work.out - first_out), work.y.Row(row + r) + first_out);
      }
    }
  }
  Tiles::Release();
}

}  // namespace fmaserver::kernels::cpu

#endif  // HWY_ARCH_X86_64
