// Bounds as in sketch_bound-inl.h, for the queries of a single row: a unit meets so few of them
// that its numbers are not worth unpacking. Here the deviations are multiplied into the query
// instead,
//
//   x_c = a q_c deviation_c,   X_c its nearest integer,   level_ic in {3, -3, 10, -10}
//   sum of x level  <=  sum of X level + 10 |x - X|
//
// so that all units have one table of levels: one look-up of 64 bytes turns codes into levels,
// which are multiplied as 8-bit numbers.

#if defined(FMA_KERNELS_CPU_ROW_BOUND_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_ROW_BOUND_INL_H_
#undef FMA_KERNELS_CPU_ROW_BOUND_INL_H_
#else
#define FMA_KERNELS_CPU_ROW_BOUND_INL_H_
#endif

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>

#include "hwy/highway.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/prefetch.h"
#include "kernels/cpu/row_queries-inl.h"
#include "kernels/cpu/sketch-inl.h"
#include "kernels/cpu/sketch_bound-inl.h"
#include "kernels/fma/archive_layout.h"
#include "kernels/fma/element.h"

#if HWY_TARGET == HWY_AVX3

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

using ByteTable = std::array<uint8_t, 64>;

/// Of 4 codes behind each other in every byte: the levels, plus 10, of number `place`, by the
/// lowest six bits.
inline constexpr ByteTable LevelTable(int place) {
  ByteTable table = {};
  for (int i = 0; i < 64; ++i)
    table[i] = static_cast<uint8_t>(10 + kLevelSteps[i >> 2 * place & 3]);
  return table;
}

/// Where in two vectors the codes of four channels each lie, of which every other token from
/// `first` on is taken: four bytes a token.
inline constexpr ByteTable CodesOfTokens(int first) {
  ByteTable from = {};
  for (int i = 0; i < 64; ++i) from[i] = static_cast<uint8_t>(i % 4 * 32 + first + i / 4 * 2);
  return from;
}

/// Where in two packed vectors of 16-bit numbers byte `half` (0: the lower one) of the channel lies
/// that is multiplied with byte i of the levels.
inline constexpr ByteTable PackedChannels(int half) {
  ByteTable from = {};
  for (int i = 0; i < 64; ++i) {
    const int channel = i / 16 * 16 + i % 4 * 4 + i / 4 % 4;
    const int of_eight = channel % 2 * 4 + channel % 8 / 2;
    from[i] =
        static_cast<uint8_t>(channel / 32 * 64 + (channel % 32 / 8 * 8 + of_eight) * 2 + half);
  }
  return from;
}

/// The sum of each vector's lanes.
FMA_BOUND_INLINE __m128 SumsOfLanes(const __m512 (&v)[kRowTile]) {
  static_assert(kRowTile == 4);
  const __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
  const __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
  const __m512 four = _mm512_add_ps(_mm512_shuffle_ps(a, b, _MM_SHUFFLE(1, 0, 1, 0)),
                                    _mm512_shuffle_ps(a, b, _MM_SHUFFLE(3, 2, 3, 2)));
  const __m256 upper = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(four), 1));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(four), upper);
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/// T: the cache's element type.
template <typename T>
class RowBound {
 public:
  /// Whether this processor has the instructions, and units consist of whole vectors.
  static bool Serves(const ArchiveLayout& layout) {
    return SketchBound<T>::Serves(layout) && layout.head_dim % kChannels == 0 &&
           layout.unit_tokens == kTokens;
  }

  RowBound(const ArchiveLayout& layout, OpenScratch& scratch)
      : layout_(layout.Sketch()),
        dim_(layout.head_dim),
        work_(scratch.row_bound),
        queries_(layout, scratch, /*rest=*/0.5F / kParts, /*ways=*/kLanes) {}

  /// Sets bounds[i] to a bound for the first `heads` queries of the scan in form number `form` and
  /// unit i, none of whose tokens is a sink; infinity where there is none, and for null. Numbers
  /// are written up to a multiple of 16. Meanwhile `next`, which is read after it, is fetched.
  FMA_BOUND_CODE void Match(int form, int64_t heads, std::span<const std::byte* const> sketches,
                            std::span<const std::byte> next, float* bounds) {
    next_ = next;
    const size_t share = next.size() / std::max<size_t>(1, sketches.size());
    next_of_unit_ = SlotLayout::RoundUp(static_cast<int64_t>(share) + 1, kCacheLine);
    const bool usable = queries_.Set(form, heads, sketches);
    Rearrange(heads);
    for (int64_t first = 0; first < std::ssize(sketches); first += kBatch) {
      const auto rest = sketches.subspan(first);
      const __mmask16 bounded = usable ? MatchBatch(heads, rest) : 0;
      _mm512_storeu_ps(bounds + first, _mm512_mask_mov_ps(_mm512_set1_ps(kInfinity), bounded,
                                                          LargestOfLanes(work_.lanes.get())));
    }
  }

 private:
  static constexpr int64_t kChannels = 64;
  static constexpr int64_t kTokens = 32;
  static constexpr int64_t kLanes = 16;
  static constexpr int64_t kBatch = RowBoundScratch::kBatch;
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();
  static constexpr float kParts = 256.0F;  // of one, that x are rounded to at first

  /// The numbers of 32 channels or tokens, those of even and of odd places.
  struct Halves {
    __m512 even;
    __m512 odd;
  };
  FMA_BOUND_INLINE static Halves Load(const BFloat16* from) {
    const __m512i both = _mm512_loadu_si512(from);
    return {_mm512_castsi512_ps(_mm512_slli_epi32(both, 16)),
            _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(-0x10000)))};
  }
  FMA_BOUND_INLINE static Halves Load(const float* from) {
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512 low = _mm512_loadu_ps(from);
    const __m512 high = _mm512_loadu_ps(from + kLanes);
    return {_mm512_permutex2var_ps(low, even, high),
            _mm512_permutex2var_ps(low, _mm512_add_epi32(even, _mm512_set1_epi32(1)), high)};
  }

  /// Brings the channels of the queries into the order of Halves, and multiplies what makes numbers
  /// of them by kParts.
  FMA_BOUND_CODE void Rearrange(int64_t heads) {
    for (int64_t at = 0; at < heads * dim_; at += 2 * kLanes) {
      const Halves plain = Load(&work_.plain[at]);
      const Halves gained = Load(&work_.gained[at]);
      const __m512 parts = _mm512_set1_ps(kParts);
      _mm512_store_ps(&work_.plain[at], plain.even);
      _mm512_store_ps(&work_.plain[at + kLanes], plain.odd);
      _mm512_store_ps(&work_.gained[at], _mm512_mul_ps(gained.even, parts));
      _mm512_store_ps(&work_.gained[at + kLanes], _mm512_mul_ps(gained.odd, parts));
    }
  }

  /// Sets the work's lanes to bounds for the first kBatch units. Returns for which of them it did.
  FMA_BOUND_CODE __mmask16 MatchBatch(int64_t heads, std::span<const std::byte* const> sketches) {
    uint32_t bounded = 0;
    const auto count = std::min<int64_t>(kBatch, std::ssize(sketches));
    for (int64_t i = 0; i < count; ++i) {
      if (sketches[i] != nullptr) bounded |= 1U << i;
      _mm512_store_ps(&work_.lanes[i * kLanes], _mm512_set1_ps(-kInfinity));
    }
    for (int64_t head = 0; head < heads; head += kRowTile) {
      static_assert(kRowTile == 4);
      switch (std::min<int64_t>(kRowTile, heads - head)) {
        case 1:
          bounded &= MatchTile<1>(head, bounded, sketches);
          break;
        case 2:
          bounded &= MatchTile<2>(head, bounded, sketches);
          break;
        case 3:
          bounded &= MatchTile<3>(head, bounded, sketches);
          break;
        default:
          bounded &= MatchTile<4>(head, bounded, sketches);
      }
    }
    return static_cast<__mmask16>(bounded);
  }

  /// For kRows heads from `head` on. All units' numbers come first, so that one unit's products
  /// need not wait for them. Meanwhile the next batch is on its way.
  template <int kRows>
  FMA_BOUND_INLINE uint32_t MatchTile(int64_t head, uint32_t units,
                                      std::span<const std::byte* const> sketches) {
    uint32_t bounded = units;
    for (uint32_t left = units; left != 0; left &= left - 1) {
      const int i = std::countr_zero(left);
      if (!SetNumbers<kRows>(head, i, sketches[i])) bounded &= ~(1U << i);
    }
    for (uint32_t left = bounded; left != 0; left &= left - 1) {
      const int i = std::countr_zero(left);
      const size_t ahead = i + kBatch;
      if (head == 0 && ahead < sketches.size()) Prefetch(sketches[ahead], layout_.bytes);
      if (head == 0) PrefetchNext();
      MatchUnit<kRows>(head, i, sketches[i]);
    }
    return bounded;
  }

  FMA_BOUND_INLINE void PrefetchNext() {
    const auto bytes = std::min(next_of_unit_, std::ssize(next_));
    Prefetch(next_.data(), bytes);
    next_ = next_.subspan(bytes);
  }

  int8_t* NumbersOf(int64_t unit) const { return &work_.numbers[unit * kRowTile * dim_]; }

  /// Sets unit number `i` of the batch's numbers, and what sums and scores begin with. False: the
  /// unit has no bounds, because its numbers are not like the others'.
  template <int kRows>
  FMA_BOUND_INLINE bool SetNumbers(int64_t head, int64_t i, const std::byte* sketch) {
    alignas(64) static constexpr ByteTable kNumbers = PackedChannels(1);
    alignas(64) static constexpr ByteTable kRests = PackedChannels(0);
    const auto* means = reinterpret_cast<const T*>(sketch);
    const auto* deviations = reinterpret_cast<const T*>(sketch + layout_.deviation_offset);
    const float* plain = &work_.plain[head * dim_];
    const float* gained = &work_.gained[head * dim_];
    int8_t* numbers = NumbersOf(i);
    __m512 products[kRowTile] = {};
    __m512 sums[kRowTile] = {};
    __m512i totals[kRowTile] = {};
    __m512i rests[kRowTile] = {};
    __m512i most = _mm512_setzero_si512();
    for (int64_t c = 0; c < dim_; c += kChannels) {
      const Halves mean[2] = {Load(means + c), Load(means + c + 2 * kLanes)};
      const Halves deviation[2] = {Load(deviations + c), Load(deviations + c + 2 * kLanes)};
      for (int r = 0; r < kRows; ++r) {
        const float* query = plain + r * dim_ + c;
        const float* weights = gained + r * dim_ + c;
        __m512i packed[2];
        for (int k = 0; k < 2; ++k, query += 2 * kLanes, weights += 2 * kLanes) {
          products[r] = _mm512_fmadd_ps(_mm512_load_ps(query), mean[k].even, products[r]);
          products[r] = _mm512_fmadd_ps(_mm512_load_ps(query + kLanes), mean[k].odd, products[r]);
          const __m512i parts = _mm512_packs_epi32(Rounded(weights, deviation[k].even),
                                                   Rounded(weights + kLanes, deviation[k].odd));
          packed[k] = _mm512_adds_epi16(parts, _mm512_set1_epi16(kParts / 2));
        }
        // The upper bytes are the nearest integers, the lower ones what is left of x, plus 128.
        const __m512i x =
            _mm512_permutex2var_epi8(packed[0], _mm512_load_si512(kNumbers.data()), packed[1]);
        const __m512i rest =
            _mm512_permutex2var_epi8(packed[0], _mm512_load_si512(kRests.data()), packed[1]);
        const __m512i size = _mm512_abs_epi8(_mm512_xor_si512(rest, _mm512_set1_epi8(-128)));
        rests[r] = _mm512_dpbusd_epi32(rests[r], size, _mm512_set1_epi8(1));
        _mm512_store_si512(numbers + r * dim_ + c, x);
        most = _mm512_max_epu8(most, _mm512_abs_epi8(x));
        totals[r] = _mm512_dpbusd_epi32(totals[r], _mm512_set1_epi8(10), x);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      // Both times 10.
      const __m512 slack =
          _mm512_mul_ps(_mm512_cvtepi32_ps(rests[r]), _mm512_set1_ps(kUp * 10 / kParts));
      sums[r] = _mm512_sub_ps(slack, _mm512_cvtepi32_ps(totals[r]));
    }
    SetStarts(head, i, products, sums);
    return Within(means, /*absolute=*/true, queries_.mean_limit()) &&
           Within(deviations, /*absolute=*/false, queries_.deviation_limit()) &&
           _mm512_cmpgt_epu8_mask(most,
                                  _mm512_set1_epi8(static_cast<int8_t>(RowQueries<T>::kMost))) == 0;
  }

  FMA_BOUND_INLINE static __m512i Rounded(const float* weights, __m512 deviations) {
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_load_ps(weights), deviations));
  }

  /// Whether the numbers of all channels, without their signs if `absolute`, are in [0, limit]. As
  /// integers, all others are larger.
  FMA_BOUND_INLINE bool Within(const T* numbers, bool absolute, float limit) const {
    constexpr bool kNarrow = sizeof(T) == sizeof(BFloat16);
    const int32_t bits = std::bit_cast<int32_t>(limit);
    const __m512i most =
        kNarrow ? _mm512_set1_epi16(static_cast<int16_t>(bits >> 16)) : _mm512_set1_epi32(bits);
    const __m512i mask = kNarrow ? _mm512_set1_epi16(absolute ? 0x7FFF : -1)
                                 : _mm512_set1_epi32(absolute ? 0x7FFFFFFF : -1);
    __m512i sizes = _mm512_setzero_si512();
    for (int64_t c = 0; c < dim_; c += static_cast<int64_t>(sizeof(most) / sizeof(T))) {
      const __m512i some = _mm512_and_si512(_mm512_loadu_si512(numbers + c), mask);
      sizes = kNarrow ? _mm512_max_epu16(sizes, some) : _mm512_max_epu32(sizes, some);
    }
    return kNarrow ? _mm512_cmpgt_epu16_mask(sizes, most) == 0
                   : _mm512_cmpgt_epu32_mask(sizes, most) == 0;
  }

  /// From the lanes of its products with means, and of what is added to its sums of integers.
  FMA_BOUND_INLINE void SetStarts(int64_t head, int64_t i, const __m512 (&products)[kRowTile],
                                  const __m512 (&sums)[kRowTile]) {
    const __m128 of_means =
        _mm_add_ps(SumsOfLanes(products), _mm_load_ps(&work_.mean_slacks[head]));
    _mm_store_ps(&work_.centres[i * kRowTile],
                 _mm_fmadd_ps(of_means, _mm_load_ps(&work_.steps[head]), _mm_set1_ps(1e-30F)));
    _mm_store_si128(
        reinterpret_cast<__m128i*>(&work_.starts[i * kRowTile]),
        _mm_cvtps_epi32(_mm_add_ps(_mm_load_ps(&work_.slacks[head]), SumsOfLanes(sums))));
  }

  /// Raises the lanes of unit number `i` of the batch to the bounds of kRows heads.
  template <int kRows>
  FMA_BOUND_INLINE void MatchUnit(int64_t head, int64_t i, const std::byte* sketch) {
    __m512i sums[kRows][2];
    for (int r = 0; r < kRows; ++r) {
      sums[r][0] = sums[r][1] = _mm512_set1_epi32(work_.starts[i * kRowTile + r]);
    }
    const std::byte* codes = sketch + layout_.codes_offset;
    const int8_t* numbers = NumbersOf(i);
    for (int64_t c = 0; c < dim_; c += kLanes, codes += kLanes / 4 * kTokens) {
      AddProducts<kRows>(codes, numbers + c, sums);
    }
    const Halves factors = Load(reinterpret_cast<const T*>(sketch + layout_.factors_offset));
    __m512 largest = _mm512_load_ps(&work_.lanes[i * kLanes]);
    for (int r = 0; r < kRows; ++r) {
      const __m512 even = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[r][0]), factors.even);
      const __m512 odd = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[r][1]), factors.odd);
      const __m512 bound =
          _mm512_fmadd_ps(_mm512_max_ps(even, odd), _mm512_set1_ps(work_.scales[head + r]),
                          _mm512_set1_ps(work_.centres[i * kRowTile + r]));
      largest = _mm512_max_ps(largest, bound);
    }
    // Factors that are not in [0, kHuge] are larger as integers.
    const __m512i sizes =
        _mm512_max_epu32(_mm512_castps_si512(factors.even), _mm512_castps_si512(factors.odd));
    const __mmask16 beyond =
        _mm512_cmpgt_epu32_mask(sizes, _mm512_castps_si512(_mm512_set1_ps(kHuge)));
    _mm512_store_ps(&work_.lanes[i * kLanes],
                    _mm512_mask_mov_ps(largest, beyond, _mm512_set1_ps(kInfinity)));
  }

  /// Of 16 channels.
  template <int kRows>
  FMA_BOUND_INLINE void AddProducts(const std::byte* codes, const int8_t* numbers,
                                    __m512i (&sums)[kRows][2]) const {
    alignas(64) static constexpr std::array<ByteTable, 2> kTokensOf = {CodesOfTokens(0),
                                                                       CodesOfTokens(1)};
    alignas(64) static constexpr std::array<ByteTable, 3> kLevelsOf = {LevelTable(0), LevelTable(1),
                                                                       LevelTable(2)};
    const __m512i low = _mm512_loadu_si512(codes);
    const __m512i high = _mm512_loadu_si512(codes + sizeof(low));
    __m512i of[2];
    for (int v = 0; v < 2; ++v) {
      of[v] = _mm512_permutex2var_epi8(low, _mm512_load_si512(kTokensOf[v].data()), high);
    }
    for (int place = 0; place < 4; ++place) {
      const __m512i table = _mm512_load_si512(kLevelsOf[std::min(place, 2)].data());
      __m512i levels[2];
      for (int v = 0; v < 2; ++v) {
        if (place == 3) of[v] = _mm512_srli_epi16(of[v], 2);
        levels[v] = _mm512_permutexvar_epi8(of[v], table);
      }
      for (int r = 0; r < kRows; ++r) {
        int32_t four;
        std::memcpy(&four, numbers + r * dim_ + 4 * place, sizeof(four));
        const __m512i query = _mm512_set1_epi32(four);
        for (int v = 0; v < 2; ++v) {
          sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], levels[v], query);
        }
      }
    }
  }

  SketchLayout layout_;
  int64_t dim_;
  RowBoundScratch& work_;
  RowQueries<T> queries_;
  std::span<const std::byte> next_;  // what is left of it
  int64_t next_of_unit_ = 0;         // bytes that each unit fetches
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#elif HWY_TARGET != HWY_AVX2  // which has narrow_bound-inl.h

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// Other targets have no bounds.
template <typename T>
class RowBound {
 public:
  static bool Serves(const ArchiveLayout& /*layout*/) { return false; }
  RowBound(const ArchiveLayout& /*layout*/, OpenScratch& /*scratch*/) {}
  void Match(int /*form*/, int64_t /*heads*/, std::span<const std::byte* const> /*sketches*/,
             std::span<const std::byte> /*next*/, float* /*bounds*/) {}
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET == HWY_AVX3
#endif
