// A strip of weights that are integers in blocks times rows of inputs, on matrix tiles: the sums of
// block_linear.h to the bit. A tile takes the products of a block of 32 inputs, for 16 rows and 16
// outputs, whose sums are exact; vectors then add blocks in order, as for rows without tiles.
#pragma once

#include "kernels/cpu/block_linear.h"
#include "kernels/cpu/tiles.h"

#if HWY_ARCH_X86_64

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

namespace fmaserver::kernels::cpu {
namespace strip_on_tiles {

constexpr int64_t kStrip = WeightStrip::kStrip;
constexpr int64_t kLanes = 16;  // of a vector; outputs of a tile
constexpr int64_t kVecs = kStrip / kLanes;
constexpr __mmask16 kAll = 0xFFFF;  // GCC warns of a conversion's own code where there is no mask
constexpr int64_t kGroups = kWeightBlock / 4;  // of four inputs: the rows of a tile of weights
constexpr int64_t kBlockCodes = kStrip * kWeightBlock;
constexpr int64_t kChunk = 4;  // blocks that are multiplied before any of them is added

/// Exact sums of products of codes.
struct alignas(64) ChunkSums {
  int32_t at[kChunk][kTileRows][kStrip];
};

/// The results of 16 rows.
struct alignas(64) RowSums {
  float at[kTileRows][kStrip] = {};
};

/// Codes of a block as int8 [kGroups, kStrip, 4], of what they stand for.
FMA_TILE_CODE inline void ExpandBlock(const WeightStrip& strip, const std::byte* codes,
                                      int8_t* to) {
  if (strip.format == WeightFormat::kInt8) {
    const __m512i signs = _mm512_set1_epi8(static_cast<char>(0x80));
    for (int64_t i = 0; i < kBlockCodes; i += 64) {
      _mm512_storeu_si512(to + i, _mm512_xor_si512(_mm512_loadu_si512(codes + i), signs));
    }
    return;
  }
  const __m512i nibbles = _mm512_set1_epi8(0x0F);
  const __m512i over = _mm512_set1_epi8(strip.has_minima ? 0 : 8);
  for (int64_t i = 0; i < kBlockCodes / 2; i += 64) {
    const __m512i both = _mm512_loadu_si512(codes + i);
    const __m512i lower = _mm512_and_si512(both, nibbles);
    const __m512i upper = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibbles);
    _mm512_storeu_si512(to + i, _mm512_sub_epi8(lower, over));
    _mm512_storeu_si512(to + kBlockCodes / 2 + i, _mm512_sub_epi8(upper, over));
  }
}

/// Tiles 0 to 3 hold sums, 4 and 5 inputs, 6 and 7 weights.
inline TileConfig Shapes() {
  TileConfig config;
  for (const int sum : {0, 1, 2, 3}) config.Shape(sum, kTileRows, kTileRowBytes);
  for (const int x : {4, 5}) config.Shape(x, kTileRows, kWeightBlock);
  for (const int weights : {6, 7}) config.Shape(weights, kGroups, kTileRowBytes);
  return config;
}

/// The products of a block; `x` is that of the first row, and rows are `x_stride` bytes apart.
template <class Tiles, int kSum, int kX>
FMA_TILE_CODE void SumBlock(const InputBlock* x, int64_t x_stride, const int8_t* codes,
                            int32_t (&sums)[kTileRows][kStrip]) {
  Tiles::template Zero<kSum>();
  Tiles::template Zero<kSum + 1>();
  Tiles::template Load<kX>(x->codes, x_stride);
  Tiles::template Load<6>(codes, 4 * kStrip);
  Tiles::template MultiplyBytes<kSum, kX, 6>();
  Tiles::template Load<7>(codes + 4 * kLanes, 4 * kStrip);
  Tiles::template MultiplyBytes<kSum + 1, kX, 7>();
  Tiles::template Store<kSum>(&sums[0][0], sizeof(sums[0]));
  Tiles::template Store<kSum + 1>(&sums[0][kLanes], sizeof(sums[0]));
}

/// Neighbouring blocks have registers of their own, so that none waits for the other.
template <class Tiles>
FMA_TILE_CODE void SumChunk(const InputBlock* x, int64_t x_stride, const int8_t* codes,
                            int64_t blocks, ChunkSums& sums) {
  int64_t b = 0;
  for (; b + 2 <= blocks; b += 2, codes += 2 * kBlockCodes) {
    SumBlock<Tiles, 0, 4>(x + b, x_stride, codes, sums.at[b]);
    SumBlock<Tiles, 2, 5>(x + b + 1, x_stride, codes + kBlockCodes, sums.at[b + 1]);
  }
  if (b < blocks) SumBlock<Tiles, 0, 4>(x + b, x_stride, codes, sums.at[b]);
}

FMA_TILE_CODE inline __m512 LoadHalves(const std::byte* halves) {
  return _mm512_maskz_cvtph_ps(kAll, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves)));
}

/// Adds blocks to the results, in order. `weights` is the first block of the strip's.
template <bool kMinima>
FMA_TILE_CODE void AddChunk(const std::byte* weights, int64_t block_bytes, const InputBlock* x,
                            int64_t row_blocks, int64_t blocks, const ChunkSums& sums,
                            RowSums& results) {
  __m512 scales[kChunk][kVecs];
  __m512 minima[kChunk][kVecs];
  for (int64_t b = 0; b < blocks; ++b, weights += block_bytes) {
    for (int64_t v = 0; v < kVecs; ++v) {
      scales[b][v] = LoadHalves(weights + v * kLanes * 2);
      if constexpr (kMinima) minima[b][v] = LoadHalves(weights + (kStrip + v * kLanes) * 2);
    }
  }
  for (int64_t row = 0; row < kTileRows; ++row, x += row_blocks) {
    for (int64_t v = 0; v < kVecs; ++v) {
      float* const result = &results.at[row][v * kLanes];
      __m512 sum = _mm512_load_ps(result);
      for (int64_t b = 0; b < blocks; ++b) {
        const __m512 dots =
            _mm512_maskz_cvtepi32_ps(kAll, _mm512_load_si512(&sums.at[b][row][v * kLanes]));
        const __m512 scale = _mm512_mul_ps(scales[b][v], _mm512_set1_ps(x[b].scale));
        sum = _mm512_fmadd_ps(dots, scale, sum);
        if constexpr (kMinima) {
          sum = _mm512_fmadd_ps(minima[b][v], _mm512_set1_ps(x[b].scaled_sum), sum);
        }
      }
      _mm512_store_ps(result, sum);
    }
  }
}

/// `y` has the row's first output of the strip.
FMA_TILE_CODE inline void StoreRow(const float* sums, const StripOnTiles& work, float* y) {
  for (int64_t o = 0; o < work.strip.outs; o += kLanes) {
    const int64_t outs = std::min(work.strip.outs - o, kLanes);
    const auto mask = static_cast<__mmask16>((1U << outs) - 1);
    __m512 sum = _mm512_load_ps(sums + o);
    if (work.bias != nullptr) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, work.bias + o));
    if (work.accumulate) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, y + o));
    _mm512_mask_storeu_ps(y + o, mask, sum);
  }
}

template <class Tiles, bool kMinima>
FMA_TILE_CODE void MultiplyRows(const StripOnTiles& work, int64_t row) {
  const WeightStrip& strip = work.strip;
  const InputBlock* x = work.input.Row(row);
  const int64_t x_stride = work.input.row_blocks() * static_cast<int64_t>(sizeof(InputBlock));
  RowSums results;
  ChunkSums sums;
  for (int64_t first = 0; first < work.input.row_blocks(); first += kChunk) {
    const int64_t blocks = std::min(kChunk, work.input.row_blocks() - first);
    SumChunk<Tiles>(x + first, x_stride, work.codes + first * kBlockCodes, blocks, sums);
    AddChunk<kMinima>(strip.data + first * strip.BlockBytes(), strip.BlockBytes(), x + first,
                      work.input.row_blocks(), blocks, sums, results);
  }
  for (int64_t r = 0; r < kTileRows; ++r) {
    StoreRow(results.at[r], work, work.y.Row(row + r) + strip.first_out);
  }
}

}  // namespace strip_on_tiles

template <class Tiles>
FMA_TILE_CODE void MultiplyStripOnTiles(const StripOnTiles& work) {
  using namespace strip_on_tiles;  // NOLINT: the parts of this function
  const WeightStrip& strip = work.strip;
  for (int64_t b = 0; b < work.input.row_blocks(); ++b) {
    ExpandBlock(strip, strip.data + b * strip.BlockBytes() + strip.CodesOffset(),
                work.codes + b * kBlockCodes);
  }
  Tiles::Configure(Shapes());
  for (int64_t row = 0; row < work.rows; row += kTileRows) {
    if (strip.has_minima) {
      MultiplyRows<Tiles, true>(work, row);
    } else {
      MultiplyRows<Tiles, false>(work, row);
    }
  }
  Tiles::Release();
}

}  // namespace fmaserver::kernels::cpu

#endif  // HWY_ARCH_X86_64
