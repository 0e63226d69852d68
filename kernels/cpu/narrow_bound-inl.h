// Bounds for the queries of a single row as in row_bound-inl.h, with vectors of 256 bits and no
// instructions that AVX2 does not have. Levels are bytes of 0 to 20, so that pairs of products with
// numbers of 8 bits fit 16 bits for several channels before they are widened.

#if defined(FMA_KERNELS_CPU_NARROW_BOUND_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_NARROW_BOUND_INL_H_
#undef FMA_KERNELS_CPU_NARROW_BOUND_INL_H_
#else
#define FMA_KERNELS_CPU_NARROW_BOUND_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>

#include "hwy/highway.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/load-inl.h"
#include "kernels/cpu/prefetch.h"
#include "kernels/cpu/row_queries-inl.h"
#include "kernels/cpu/sketch-inl.h"
#include "kernels/cpu/sketch_bound-inl.h"
#include "kernels/fma/archive_layout.h"

#if HWY_TARGET == HWY_AVX2
#include <immintrin.h>

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// By the codes of two channels behind each other, the levels of the first or the second, plus 10.
inline constexpr std::array<uint8_t, 16> LevelsOfPair(int place) {
  std::array<uint8_t, 16> levels = {};
  for (int i = 0; i < 16; ++i) {
    levels[i] = static_cast<uint8_t>(10 + kLevelSteps[i >> 2 * place & 3]);
  }
  return levels;
}

/// T: the cache's element type.
template <typename T>
class RowBound {
 public:
  static bool Serves(const ArchiveLayout& layout) {
    return layout.head_dim % kNumbers == 0 && layout.unit_tokens % kTokens == 0;
  }

  RowBound(const ArchiveLayout& layout, OpenScratch& scratch)
      : layout_(layout.Sketch()),
        dim_(layout.head_dim),
        tokens_(layout.unit_tokens),
        work_(scratch.row_bound),
        queries_(layout, scratch, /*rest=*/0.5F, /*ways=*/8) {}

  /// As that of row_bound-inl.h.
  void Match(int form, int64_t heads, std::span<const std::byte* const> sketches,
             std::span<const std::byte> next, float* bounds) {
    const size_t of_unit = next.size() / std::max<size_t>(1, sketches.size()) + kCacheLine;
    const bool usable = queries_.Set(form, heads, sketches);
    for (size_t i = 0; i < sketches.size(); ++i) {
      if (i + kAhead < sketches.size()) Prefetch(sketches[i + kAhead], layout_.bytes);
      const size_t share = std::min(of_unit, next.size());
      Prefetch(next.data(), static_cast<int64_t>(share));
      next = next.subspan(share);
      const bool bounded = usable && sketches[i] != nullptr;
      bounds[i] = bounded ? BoundOf(heads, sketches[i]) : kInfinity;
    }
  }

 private:
  static constexpr int64_t kNumbers = 32;  // channels at a time
  static constexpr int64_t kTokens = 16;   // at a time
  static constexpr size_t kAhead = 12;     // units
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();

  const T* MeansOf(const std::byte* sketch) const { return reinterpret_cast<const T*>(sketch); }
  const T* DeviationsOf(const std::byte* sketch) const {
    return reinterpret_cast<const T*>(sketch + layout_.deviation_offset);
  }
  const T* FactorsOf(const std::byte* sketch) const {
    return reinterpret_cast<const T*>(sketch + layout_.factors_offset);
  }

  float BoundOf(int64_t heads, const std::byte* sketch) {
    if (!IsLikeOthers(sketch)) return kInfinity;
    __m256 largest = _mm256_set1_ps(-kInfinity);
    for (int64_t head = 0; head < heads; head += kRowTile) {
      const int64_t count = std::min<int64_t>(kRowTile, heads - head);
      for (int64_t r = 0; r < count; ++r) {
        if (!SetNumbers(head + r, r, sketch)) return kInfinity;
      }
      static_assert(kRowTile == 4);
      switch (count) {
        case 1:
          largest = Raise<1>(head, sketch, largest);
          break;
        case 2:
          largest = Raise<2>(head, sketch, largest);
          break;
        case 3:
          largest = Raise<3>(head, sketch, largest);
          break;
        default:
          largest = Raise<4>(head, sketch, largest);
      }
    }
    return hn::GetLane(hn::MaxOfLanes(FloatTag(), FloatVec{largest}));
  }

  /// Whether the numbers of a sketch are numbers, and not much larger than those that were looked
  /// at.
  bool IsLikeOthers(const std::byte* sketch) const {
    const FloatTag d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    const FloatVec zero = hn::Zero(d);
    auto good = hn::Eq(zero, zero);
    for (int64_t c = 0; c < dim_; c += lanes) {
      const FloatVec mean = hn::Abs(LoadFloats(MeansOf(sketch) + c));
      const FloatVec deviation = LoadFloats(DeviationsOf(sketch) + c);
      good = hn::And(good, hn::Le(mean, hn::Set(d, queries_.mean_limit())));
      good = hn::And(good, hn::Le(deviation, hn::Set(d, queries_.deviation_limit())));
      good = hn::And(good, hn::Ge(deviation, zero));
    }
    for (int64_t i = 0; i < tokens_; i += lanes) {
      const FloatVec factor = LoadFloats(FactorsOf(sketch) + i);
      good = hn::And(good, hn::And(hn::Le(factor, hn::Set(d, kHuge)), hn::Ge(factor, zero)));
    }
    return hn::AllTrue(d, good);
  }

  /// Sets numbers [r] of the tile to those of a head for a unit, and what its sums and scores begin
  /// with. False: it has no bounds.
  bool SetNumbers(int64_t head, int64_t r, const std::byte* sketch) {
    const float* plain = &work_.plain[head * dim_];
    const float* gained = &work_.gained[head * dim_];
    int8_t* numbers = &work_.numbers[r * dim_];
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256 products = _mm256_setzero_ps();
    __m256i total = _mm256_setzero_si256();
    __m256i most = _mm256_setzero_si256();
    for (int64_t c = 0; c < dim_; c += kNumbers) {
      __m256i wide[4];
      for (int64_t v = 0; v < 4; ++v) {
        const int64_t at = c + 8 * v;
        products = _mm256_fmadd_ps(_mm256_load_ps(plain + at), LoadFloats(MeansOf(sketch) + at).raw,
                                   products);
        wide[v] = _mm256_cvtps_epi32(
            _mm256_mul_ps(_mm256_load_ps(gained + at), LoadFloats(DeviationsOf(sketch) + at).raw));
      }
      const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(wide[0], wide[1]),
                                                _mm256_packs_epi32(wide[2], wide[3]));
      const __m256i x = _mm256_permutevar8x32_epi32(packed, in_order);
      _mm256_store_si256(reinterpret_cast<__m256i*>(numbers + c), x);
      most = _mm256_max_epu8(most, _mm256_abs_epi8(x));
      const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(10), x);
      total = _mm256_add_epi32(total, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    const __m256i limit = _mm256_set1_epi8(static_cast<int8_t>(RowQueries<T>::kMost));
    if (_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_max_epu8(most, limit), limit)) != -1) {
      return false;
    }
    const FloatTag d;
    const float of_means = hn::GetLane(hn::SumOfLanes(d, FloatVec{products}));
    const float of_levels = hn::GetLane(hn::SumOfLanes(d, FloatVec{_mm256_cvtepi32_ps(total)}));
    work_.starts[r] = static_cast<int32_t>(std::ceil(work_.slacks[head] - of_levels));
    work_.centres[r] = (of_means + work_.mean_slacks[head]) * work_.steps[head] + 1e-30F;
    return true;
  }

  /// Raises the lanes to the bounds of kRows heads.
  template <int kRows>
  HWY_INLINE __m256 Raise(int64_t head, const std::byte* sketch, __m256 largest) const {
    for (int64_t first = 0; first < tokens_; first += kTokens) {
      __m256i sums[kRows][2];
      for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = _mm256_set1_epi32(work_.starts[r]);
      AddProducts<kRows>(reinterpret_cast<const uint8_t*>(sketch) + layout_.codes_offset + first,
                         sums);
      const __m256 low = LoadFloats(FactorsOf(sketch) + first).raw;
      const __m256 high = LoadFloats(FactorsOf(sketch) + first + 8).raw;
      const __m256 factors[2] = {_mm256_permute2f128_ps(low, high, 0x20),
                                 _mm256_permute2f128_ps(low, high, 0x31)};
      for (int r = 0; r < kRows; ++r) {
        const __m256 most =
            _mm256_max_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[r][0]), factors[0]),
                          _mm256_mul_ps(_mm256_cvtepi32_ps(sums[r][1]), factors[1]));
        largest = _mm256_max_ps(_mm256_fmadd_ps(most, _mm256_set1_ps(work_.scales[head + r]),
                                                _mm256_set1_ps(work_.centres[r])),
                                largest);
      }
    }
    return largest;
  }

  /// Adds the products with levels of 16 tokens: of 0 to 3 and 8 to 11, and of the others.
  template <int kRows>
  HWY_INLINE void AddProducts(const uint8_t* codes, __m256i (&sums)[kRows][2]) const {
    // Two of 20 * kMost are added for each four channels.
    constexpr int64_t kFours = 4;
    const __m256i ones = _mm256_set1_epi16(1);
    const int8_t* numbers = work_.numbers.get();
    for (int64_t c = 0; c < dim_; c += 4 * kFours) {
      __m256i pairs[kRows][2] = {};
      for (int64_t four = 0; four < kFours; ++four, codes += tokens_) {
        __m256i levels[2];
        SetLevels(codes, levels);
        for (int r = 0; r < kRows; ++r) {
          int32_t of_four;
          std::memcpy(&of_four, numbers + r * dim_ + c + 4 * four, sizeof(of_four));
          const __m256i query = _mm256_set1_epi32(of_four);
          for (int v = 0; v < 2; ++v) {
            pairs[r][v] = _mm256_add_epi16(pairs[r][v], _mm256_maddubs_epi16(levels[v], query));
          }
        }
      }
      for (int r = 0; r < kRows; ++r) {
        for (int v = 0; v < 2; ++v) {
          sums[r][v] = _mm256_add_epi32(sums[r][v], _mm256_madd_epi16(pairs[r][v], ones));
        }
      }
    }
  }

  /// The levels of four channels, plus 10, of 16 tokens.
  static HWY_INLINE void SetLevels(const uint8_t* codes, __m256i (&levels)[2]) {
    alignas(16) static constexpr auto kFirst = LevelsOfPair(0);
    alignas(16) static constexpr auto kSecond = LevelsOfPair(1);
    const auto table = [](const std::array<uint8_t, 16>& of) HWY_ATTR {
      return _mm256_broadcastsi128_si256(
          _mm_load_si128(reinterpret_cast<const __m128i*>(of.data())));
    };
    const __m128i sixteen = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
    // Eight tokens at the beginning of each half.
    const __m256i halves = _mm256_permute4x64_epi64(_mm256_castsi128_si256(sixteen), 0x10);
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i low = _mm256_and_si256(halves, nibble);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(halves, 4), nibble);
    const __m256i first_two = _mm256_unpacklo_epi8(_mm256_shuffle_epi8(table(kFirst), low),
                                                   _mm256_shuffle_epi8(table(kSecond), low));
    const __m256i last_two = _mm256_unpacklo_epi8(_mm256_shuffle_epi8(table(kFirst), high),
                                                  _mm256_shuffle_epi8(table(kSecond), high));
    levels[0] = _mm256_unpacklo_epi16(first_two, last_two);
    levels[1] = _mm256_unpackhi_epi16(first_two, last_two);
  }

  SketchLayout layout_;
  int64_t dim_;
  int64_t tokens_;
  RowBoundScratch& work_;
  RowQueries<T> queries_;
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET == HWY_AVX2
#endif
