// No score of a query and a unit is above a bound that costs much less than the scores: the 16-bit
// numbers of sketch_scan-inl.h are 256 times an 8-bit number, which one instruction multiplies for
// four channels, and a rest, which at the worst meets a level of 10 of its own sign everywhere.
//
// Everything behind these sums of integers is computed as for scores, where a larger sum never
// becomes a smaller score, so the bound holds after rounding too. What it discards would not have
// been chosen, and all else is scored as without it: choices do not depend on the processor.

#if defined(FMA_KERNELS_CPU_SKETCH_BOUND_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_SKETCH_BOUND_INL_H_
#undef FMA_KERNELS_CPU_SKETCH_BOUND_INL_H_
#else
#define FMA_KERNELS_CPU_SKETCH_BOUND_INL_H_
#endif

#include <array>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/load-inl.h"
#include "kernels/cpu/sketch-inl.h"

#if HWY_TARGET == HWY_AVX3
#include <immintrin.h>

#define FMA_BOUND_CODE __attribute__((target("avx512vbmi,avx512vnni")))
#define FMA_BOUND_INLINE FMA_BOUND_CODE inline __attribute__((always_inline))

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// Levels are stored with this added, because the products are of unsigned numbers.
inline constexpr int kLevelOffset = 10;

/// Of a lane: 64-bit words take turns with the first and the last eight tokens.
inline constexpr int TokenOf(int lane) { return lane / 2 % 2 * 8 + lane / 4 * 2 + lane % 2; }

inline constexpr std::array<int32_t, 16> TokensOfLanes() {
  std::array<int32_t, 16> tokens = {};
  for (int lane = 0; lane < 16; ++lane) tokens[lane] = TokenOf(lane);
  return tokens;
}
/// Where in the 64 bits of its eight tokens the code of each byte begins.
inline constexpr std::array<uint8_t, 64> CodeShifts() {
  std::array<uint8_t, 64> shifts = {};
  for (int i = 0; i < 64; ++i) {
    shifts[i] = static_cast<uint8_t>(TokenOf(i / 4) % 8 * 8 + i % 4 * 2);
  }
  return shifts;
}
/// By a code in the lowest two of six bits.
inline constexpr std::array<uint8_t, 64> LevelsByCode() {
  std::array<uint8_t, 64> table = {};
  for (int i = 0; i < 64; ++i) table[i] = static_cast<uint8_t>(kLevelSteps[i % 4] + kLevelOffset);
  return table;
}
inline constexpr std::array<int16_t, 32> LowHalvesOfLanes() {
  std::array<int16_t, 32> halves = {};
  for (int i = 0; i < 32; ++i) halves[i] = static_cast<int16_t>(2 * i);
  return halves;
}

/// For the unit that is in the scan's scratch, as SketchScan::SetUnit() leaves it.
class SketchBound {
 public:
  /// Whether this processor has the instructions, and sums fit.
  static bool Serves(const ScanScratch& work) {
    static const bool kHas =
        __builtin_cpu_supports("avx512vbmi") > 0 && __builtin_cpu_supports("avx512vnni") > 0;
    return kHas && work.dim <= kMostChannels;
  }

  SketchBound(ScanScratch& work, const uint8_t* codes, int64_t tokens, int64_t stride)
      : work_(work), codes_(codes), tokens_(tokens), stride_(stride) {}

  /// Codes of all channels as bytes, for many queries.
  FMA_BOUND_CODE void Unpack() const {
    for (int64_t four = 0; four < work_.pairs / 2; ++four) {
      for (int64_t first = 0; first < stride_; first += kLanes) {
        _mm512_store_si512(&work_.bytes[four * stride_ + first], Levels(four, first));
      }
    }
  }

  /// Raises each row's lanes to the bounds of kRows queries from `query` on, of `heads` a row.
  template <bool kStored, int kRows>
  FMA_BOUND_CODE void MatchTile(int form, int64_t query, int64_t heads) const {
    Tile<kRows> tile;
    tile.row = query / heads;
    tile.rest_of_row = heads - query % heads;
    tile.heads = heads;
    tile.steps = &work_.steps[form * work_.queries + query];
    Narrow(&work_.scaled[(form * work_.queries + query) * work_.dim], tile);
    int64_t first = 0;
    for (; first + 2 * kLanes <= stride_; first += 2 * kLanes) {
      MatchColumns<kStored, kRows, 2>(tile, first);
    }
    if (first < stride_) MatchColumns<kStored, kRows, 1>(tile, first);
  }

 private:
  static constexpr int64_t kLanes = 16;
  static constexpr int64_t kMostChannels = 2048;

  /// Some queries: their products with the mean, what is to be added to 256 times the sums of their
  /// products with levels, and which rows they are of.
  template <int kRows>
  struct Tile {
    std::array<float, kRows> centres;
    std::array<int32_t, kRows> rests;
    const float* steps;
    int64_t row;
    int64_t rest_of_row;  // queries of the first row
    int64_t heads;
  };

  /// Writes the 8-bit numbers of queries, and what the tile says of them.
  template <int kRows>
  FMA_BOUND_INLINE void Narrow(const float* scaled, Tile<kRows>& tile) const {
    alignas(64) static constexpr auto kLowHalves = LowHalvesOfLanes();
    const __m512i low_halves = _mm512_load_si512(kLowHalves.data());
    __m512 sums[kRows];
    __m512i rests[kRows];
    for (int r = 0; r < kRows; ++r) {
      sums[r] = _mm512_setzero_ps();
      rests[r] = _mm512_setzero_si512();
    }
    for (int64_t c = 0; c < work_.dim; c += 2 * kLanes) {
      const bool both = c + kLanes < work_.dim;
      for (int r = 0; r < kRows; ++r) {
        const float* query = scaled + r * work_.dim;
        const __m512i first = Round(query, c, sums[r]);
        const __m512i second = both ? Round(query, c + kLanes, sums[r]) : _mm512_setzero_si512();
        const __m512i numbers = _mm512_permutex2var_epi16(first, low_halves, second);
        const __m512i narrow =
            _mm512_srai_epi16(_mm512_adds_epi16(numbers, _mm512_set1_epi16(128)), 8);
        const __m512i left =
            _mm512_abs_epi16(_mm512_sub_epi16(numbers, _mm512_slli_epi16(narrow, 8)));
        rests[r] = _mm512_dpwssd_epi32(rests[r], left, _mm512_set1_epi16(10));
        rests[r] = _mm512_dpwssd_epi32(rests[r], narrow, _mm512_set1_epi16(-256 * kLevelOffset));
        int8_t* to = &work_.narrow[r * work_.narrow_dim + c];
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi16_epi8(narrow));
      }
    }
    for (int r = 0; r < kRows; ++r) {
      tile.centres[r] = hn::GetLane(hn::SumOfLanes(FloatTag(), FloatVec{sums[r]}));
      tile.rests[r] = _mm512_reduce_add_epi32(rests[r]);
    }
  }

  /// 16 numbers of a query from channel `c` on, in the low halves of lanes; adds to the products
  /// with the mean.
  FMA_BOUND_INLINE __m512i Round(const float* scaled, int64_t c, __m512& sum) const {
    const __m512 query = _mm512_load_ps(scaled + c);
    sum = _mm512_fmadd_ps(query, _mm512_load_ps(&work_.means[c]), sum);
    return _mm512_castps_si512(
        _mm512_fmadd_ps(query, _mm512_load_ps(&work_.deviations[c]), _mm512_set1_ps(kRounds)));
  }

  template <bool kStored, int kRows, int kVecs>
  FMA_BOUND_INLINE void MatchColumns(const Tile<kRows>& tile, int64_t first) const {
    __m512i sums[kRows][kVecs];
    SumProducts<kStored>(first, sums);
    __m512 factors[kVecs];
    __m512 hidden[kVecs];
    for (int v = 0; v < kVecs; ++v) {
      factors[v] = InOrder(&work_.factors[first + v * kLanes]);
      hidden[v] = InOrder(&work_.hidden[first + v * kLanes]);
    }
    float* lanes = &work_.lanes[tile.row * kLanes];
    int64_t left = tile.rest_of_row;
    __m512 largest = _mm512_load_ps(lanes);
    for (int r = 0; r < kRows; ++r, --left) {
      if (left == 0) {
        _mm512_store_ps(lanes, largest);
        lanes += kLanes;
        left = tile.heads;
        largest = _mm512_load_ps(lanes);
      }
      for (int v = 0; v < kVecs; ++v) {
        const __m512i most =
            _mm512_add_epi32(_mm512_slli_epi32(sums[r][v], 8), _mm512_set1_epi32(tile.rests[r]));
        const __m512 product =
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(most), factors[v], _mm512_set1_ps(tile.centres[r]));
        const __m512 score = _mm512_fmadd_ps(product, _mm512_set1_ps(tile.steps[r]), hidden[v]);
        largest = _mm512_max_ps(score, largest);  // which a NaN leaves as it is
      }
    }
    _mm512_store_ps(lanes, largest);
  }

  template <bool kStored, int kRows, int kVecs>
  FMA_BOUND_INLINE void SumProducts(int64_t first, __m512i (&sums)[kRows][kVecs]) const {
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVecs; ++v) sums[r][v] = _mm512_setzero_si512();
    }
    const auto* numbers = reinterpret_cast<const int32_t*>(work_.narrow.get());
    const int64_t row = work_.narrow_dim / 4;
    const int64_t fours = work_.pairs / 2;
    const int32_t* bytes = work_.bytes.get() + first;
    for (int64_t four = 0; four < fours; ++four) {
      __m512i levels[kVecs];
      for (int v = 0; v < kVecs; ++v) {
        levels[v] = kStored ? _mm512_load_si512(bytes + four * stride_ + v * kLanes)
                            : Levels(four, first + v * kLanes);
      }
      for (int r = 0; r < kRows; ++r) {
        const __m512i query = _mm512_set1_epi32(numbers[r * row + four]);
        for (int v = 0; v < kVecs; ++v) {
          sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], levels[v], query);
        }
      }
    }
  }

  /// The levels, plus kLevelOffset, of four channels of 16 tokens from `first` on, in the order of
  /// TokenOf().
  FMA_BOUND_INLINE __m512i Levels(int64_t four, int64_t first) const {
    alignas(64) static constexpr auto kShifts = CodeShifts();
    alignas(64) static constexpr auto kTable = LevelsByCode();
    const uint8_t* from = codes_ + four * tokens_ + first;
    const int64_t left = tokens_ - first;
    const __m128i codes = left >= kLanes ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))
                                         : _mm_maskz_loadu_epi8((1U << left) - 1, from);
    const __m512i shifted = _mm512_multishift_epi64_epi8(_mm512_load_si512(kShifts.data()),
                                                         _mm512_broadcast_i32x4(codes));
    return _mm512_permutexvar_epi8(shifted, _mm512_load_si512(kTable.data()));
  }

  /// 16 numbers of tokens in the order of TokenOf().
  static FMA_BOUND_INLINE __m512 InOrder(const float* numbers) {
    alignas(64) static constexpr auto kTokens = TokensOfLanes();
    return _mm512_permutexvar_ps(_mm512_load_si512(kTokens.data()), _mm512_load_ps(numbers));
  }

  ScanScratch& work_;
  const uint8_t* const codes_;
  const int64_t tokens_;
  const int64_t stride_;
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET == HWY_AVX3
#endif
