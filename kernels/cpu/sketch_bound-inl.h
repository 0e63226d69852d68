// Bounds: no score of a query and a unit (sketch_scan-inl.h) is above its bound, which costs much
// less. A query q and the tokens i of a unit have the products
//
//   q . mean + f_i * sum over channels c of q_c * deviation_c * level_ic
//
// Here the second sum is one of 8-bit integers, which one instruction multiplies for four channels:
// X_c near x_c = a q_c w_c, and Y_ic near y_ic = b deviation_c level_ic / w_c, where w is what
// deviations reach and is the same for many units, so that a query's numbers are too. With |v| for
// the Euclidean length of v, Cauchy and Schwarz say
//
//   sum of x y  <=  sum of X Y + |x - X| |Y| + |x| |y - Y|
//
// and the lengths, which are of a query or of a unit alone, are cheap. What rounding does to floats
// here and in the scores is less than what is added for it (Slack()).
//
// Units that a bound discards would not have been chosen, and all others are scored as without
// bounds, so choices do not depend on the processor.

#if defined(FMA_KERNELS_CPU_SKETCH_BOUND_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_SKETCH_BOUND_INL_H_
#undef FMA_KERNELS_CPU_SKETCH_BOUND_INL_H_
#else
#define FMA_KERNELS_CPU_SKETCH_BOUND_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "hwy/highway.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/sketch-inl.h"
#include "kernels/fma/archive_layout.h"
#include "kernels/fma/element.h"

#if HWY_TARGET == HWY_AVX3
#include <immintrin.h>

#define FMA_BOUND_CODE __attribute__((target("avx512vbmi,avx512vnni")))
#define FMA_BOUND_INLINE FMA_BOUND_CODE inline __attribute__((always_inline))

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// Of a lane: 64-bit words take turns with the first and the last eight of 16 tokens.
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

/// T: the cache's element type.
template <typename T>
class SketchBound {
 public:
  /// Whether this processor has the instructions.
  static bool Serves() {
    static const bool kHas =
        __builtin_cpu_supports("avx512vbmi") > 0 && __builtin_cpu_supports("avx512vnni") > 0;
    return kHas;
  }

  SketchBound(const ArchiveLayout& layout, OpenScratch& scratch)
      : layout_(layout.Sketch()),
        dim_(layout.head_dim),
        tokens_(layout.unit_tokens),
        stride_(scratch.unit_stride),
        scan_(scratch.scan),
        work_(scratch.bound),
        root_(std::sqrt(static_cast<float>(dim_))) {}

  /// Prepares the first `count` queries of the scan in form number `form` for units like
  /// `sketches`, which are not none. Null stands for no unit.
  FMA_BOUND_CODE void SetQueries(int form, int64_t count,
                                 std::span<const std::byte* const> sketches) {
    SetReach(sketches);
    form_ = form;
    count_ = count;
    for (int64_t i = 0; i < count; ++i) SetQuery(i);
  }

  /// Reads a sketch, of which the first `sinks` tokens are never met. False: it has no bounds,
  /// because its numbers are not like the others'.
  FMA_BOUND_CODE bool SetUnit(const std::byte* sketch, int64_t sinks) {
    const auto* means = reinterpret_cast<const T*>(sketch);
    const auto* deviations = reinterpret_cast<const T*>(sketch + layout_.deviation_offset);
    const __m512 limit = _mm512_set1_ps(mean_limit_);
    const __m512i middle = _mm512_set1_epi8(-128);
    __m512 squares = _mm512_setzero_ps();
    __mmask16 good = 0xFFFF;
    for (int64_t c = 0; c < scan_.dim; c += kLanes) {
      const __mmask16 there = First(dim_ - c);
      const __m512 mean = Load(means + c, there);
      const __m512 deviation = Load(deviations + c, there);
      good &= _mm512_cmp_ps_mask(_mm512_abs_ps(mean), limit, _CMP_LE_OQ);
      good &= _mm512_cmp_ps_mask(deviation, _mm512_setzero_ps(), _CMP_GE_OQ);
      good &= _mm512_cmp_ps_mask(deviation, _mm512_load_ps(&work_.reach[c]), _CMP_LE_OQ);
      const __m512 outer = _mm512_mul_ps(deviation, _mm512_load_ps(&work_.gains[c]));
      squares = _mm512_fmadd_ps(outer, outer, squares);
      const __m512i both =
          _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(outer, _mm512_set1_ps(0.3F))),
                           _mm512_slli_epi32(_mm512_cvtps_epi32(outer), 16));
      const __m512i bytes = _mm512_sub_epi32(both, _mm512_slli_epi32(both, 8));
      _mm512_store_si512(&work_.levels_of[c], _mm512_add_epi32(bytes, middle));
      _mm512_store_ps(&work_.means[c], mean);
    }
    length_ = std::sqrt(_mm512_reduce_add_ps(squares)) * kUp + 0.5F * root_;
    good &= SetTokens(reinterpret_cast<const T*>(sketch + layout_.factors_offset), sinks);
    codes_ = reinterpret_cast<const uint8_t*>(sketch + layout_.codes_offset);
    if (count_ > kRowTile) Unpack();
    return good == 0xFFFF;
  }

  /// Sets bounds[row * stride] to bounds for the queries of each row, `heads` a row, and the unit.
  FMA_BOUND_CODE void Match(int64_t heads, float* bounds, int64_t stride) const {
    const int64_t rows = count_ / heads;
    for (int64_t row = 0; row < rows; ++row) {
      _mm512_store_ps(&scan_.lanes[row * kLanes], _mm512_set1_ps(kLeast));
    }
    if (count_ > kRowTile) {
      MatchAll<true>(heads);
    } else {
      MatchAll<false>(heads);
    }
    for (int64_t row = 0; row < rows; ++row) {
      bounds[row * stride] = _mm512_reduce_max_ps(_mm512_load_ps(&scan_.lanes[row * kLanes]));
    }
  }

  static constexpr float kLeast = -std::numeric_limits<float>::max();

 private:
  static constexpr int64_t kLanes = 16;
  static constexpr float kMost = 127.0F;  // of numbers of 8 bits
  static constexpr float kNever = -std::numeric_limits<float>::infinity();
  static constexpr float kUp = 1.0001F;  // more than rounding takes from sums of squares
  static constexpr float kHuge = 1e15F;  // numbers beyond this could overflow
  static constexpr float kTiny = 1e-20F;
  static constexpr float kStep = 0.151F / (kMost / 10);  // of Y, in deviations
  static constexpr int64_t kSamples = 16;
  static constexpr float kReach = 2.5F;  // deviations rarely are so many times their mean

  static __mmask16 First(int64_t count) {
    return count >= kLanes ? 0xFFFF
                           : static_cast<__mmask16>((1U << std::max<int64_t>(count, 0)) - 1);
  }
  FMA_BOUND_INLINE static __m512 Load(const float* from, __mmask16 there) {
    return _mm512_maskz_loadu_ps(there, from);
  }
  FMA_BOUND_INLINE static __m512 Load(const BFloat16* from, __mmask16 there) {
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, from)), 16));
  }

  /// Sets what numbers of these units may reach: channel by channel some times the mean deviation,
  /// and some times the largest mean. Numbers that are none are left out.
  void SetReach(std::span<const std::byte* const> sketches) {
    std::fill_n(work_.reach.get(), scan_.dim, 0.0F);
    const auto tame = [](float x) { return std::abs(x) <= kHuge ? std::abs(x) : 0.0F; };
    float mean = 0;
    const int64_t count = std::ssize(sketches);
    const int64_t samples = std::min(count, kSamples);
    for (int64_t i = 0; i < samples; ++i) {
      const std::byte* sketch = sketches[i * count / samples];
      if (sketch == nullptr) continue;
      const auto* means = reinterpret_cast<const T*>(sketch);
      const auto* deviations = reinterpret_cast<const T*>(sketch + layout_.deviation_offset);
      for (int64_t c = 0; c < dim_; ++c) {
        mean = std::max(mean, tame(ToFloat(means[c])));
        work_.reach[c] += tame(ToFloat(deviations[c])) * kReach / static_cast<float>(samples);
      }
    }
    mean_limit_ = 8 * mean + kTiny;
    most_reach_ = std::max(*std::max_element(&work_.reach[0], &work_.reach[dim_]), kTiny);
    for (int64_t c = 0; c < scan_.dim; ++c) {
      work_.reach[c] = std::max(work_.reach[c], most_reach_ / 1024);
      work_.gains[c] = kMost / work_.reach[c];
    }
  }

  FMA_BOUND_CODE void SetQuery(int64_t index) {
    const float* scaled = &scan_.scaled[(form_ * scan_.queries + index) * scan_.dim];
    __m512 largest = _mm512_setzero_ps();
    for (int64_t c = 0; c < scan_.dim; c += kLanes) {
      largest = _mm512_max_ps(_mm512_abs_ps(Weighted(scaled, c)), largest);
    }
    const float most = _mm512_reduce_max_ps(largest);
    const float gain = most > kTiny ? kMost / most : 1.0F;
    __m512 rests = _mm512_setzero_ps();
    __m512 squares = _mm512_setzero_ps();
    __m512 plain = _mm512_setzero_ps();
    __m512i total = _mm512_setzero_si512();
    for (int64_t c = 0; c < scan_.dim; c += kLanes) {
      const __m512 x = _mm512_mul_ps(Weighted(scaled, c), _mm512_set1_ps(gain));
      const __m512i number = _mm512_cvtps_epi32(x);
      const __m512 rest = _mm512_sub_ps(x, _mm512_cvtepi32_ps(number));
      const __m512 query = _mm512_load_ps(scaled + c);
      rests = _mm512_fmadd_ps(rest, rest, rests);
      squares = _mm512_fmadd_ps(x, x, squares);
      plain = _mm512_fmadd_ps(query, query, plain);
      total = _mm512_add_epi32(total, number);
      _mm_store_si128(reinterpret_cast<__m128i*>(&work_.numbers[index * scan_.dim + c]),
                      _mm512_cvtepi32_epi8(number));
    }
    const float step = scan_.steps[form_ * scan_.queries + index];
    work_.steps[index] = step;
    work_.starts[index] = -128 * _mm512_reduce_add_epi32(total);
    work_.rests[index] = std::sqrt(_mm512_reduce_add_ps(rests)) * kUp;
    work_.scales[index] = step <= kHuge ? step / gain : 0.0F;
    const float length = std::sqrt(_mm512_reduce_add_ps(squares)) * kUp;
    const float plain_length = std::sqrt(_mm512_reduce_add_ps(plain)) * kUp;
    SetSlack(index, gain, length, step <= kHuge ? plain_length : -kNever);
  }

  FMA_BOUND_INLINE __m512 Weighted(const float* scaled, int64_t c) const {
    return _mm512_mul_ps(_mm512_load_ps(scaled + c), _mm512_load_ps(&work_.reach[c]));
  }

  /// What is added to a query's sums of integers, apart from what depends on the unit, and to its
  /// products with means. `length` is that of its x, which are `gain` times the query and what
  /// deviations reach; `plain` is that of the query itself.
  void SetSlack(int64_t index, float gain, float length, float plain) {
    const auto dim = static_cast<float>(dim_);
    const float of_levels = 0.5F * root_ * length;
    const float of_floats = 0x1p-16F * (kMost + 1) * root_ * length;
    // In scores, a half for each channel's number times a level of 10 at most.
    const float of_numbers = kMost / 10 * 5 * dim * gain * most_reach_;
    work_.slacks[index] = kUp * (of_levels + of_floats + of_numbers) + 1;
    work_.mean_slacks[index] = kUp * (dim / 16 + 8) * 0x1p-23F * root_ * mean_limit_ * plain;
  }

  /// Whether the factors of the unit are like others.
  FMA_BOUND_INLINE __mmask16 SetTokens(const T* factors, int64_t sinks) {
    alignas(64) static constexpr auto kTokens = TokensOfLanes();
    const __m512i tokens = _mm512_load_si512(kTokens.data());
    const __m512i end = _mm512_set1_epi32(static_cast<int32_t>(tokens_));
    const __m512i begin = _mm512_set1_epi32(static_cast<int32_t>(sinks));
    __mmask16 good = 0xFFFF;
    for (int64_t first = 0; first < stride_; first += kLanes) {
      const __m512 factor = Load(factors + first, First(tokens_ - first));
      good &= _mm512_cmp_ps_mask(factor, _mm512_setzero_ps(), _CMP_GE_OQ);
      good &= _mm512_cmp_ps_mask(factor, _mm512_set1_ps(kHuge), _CMP_LE_OQ);
      const __m512 scaled = _mm512_mul_ps(factor, _mm512_set1_ps(kStep));
      _mm512_store_ps(&work_.factors[first], _mm512_permutexvar_ps(tokens, scaled));
      const __m512i token =
          _mm512_add_epi32(tokens, _mm512_set1_epi32(static_cast<int32_t>(first)));
      const __mmask16 met =
          _mm512_cmpge_epi32_mask(token, begin) & _mm512_cmplt_epi32_mask(token, end);
      _mm512_store_ps(&work_.hidden[first],
                      _mm512_mask_mov_ps(_mm512_set1_ps(kNever), met, _mm512_setzero_ps()));
    }
    return good;
  }

  /// Levels of all channels as bytes, for many queries.
  FMA_BOUND_INLINE void Unpack() const {
    for (int64_t four = 0; four < scan_.pairs / 2; ++four) {
      for (int64_t first = 0; first < stride_; first += kLanes) {
        _mm512_store_si512(&work_.levels[four * stride_ + first], Levels(four, first));
      }
    }
  }

  template <bool kStored>
  FMA_BOUND_INLINE void MatchAll(int64_t heads) const {
    int64_t query = 0;
    for (; query + kRowTile <= count_; query += kRowTile)
      MatchTile<kStored, kRowTile>(query, heads);
    static_assert(kRowTile == 4);
    if (count_ - query == 3) MatchTile<kStored, 3>(query, heads);
    if (count_ - query == 2) MatchTile<kStored, 2>(query, heads);
    if (count_ - query == 1) MatchTile<kStored, 1>(query, heads);
  }

  /// Of some queries: where their sums begin, their products with the mean, and which rows they are
  /// of.
  struct Tile {
    alignas(16) std::array<int32_t, kRowTile> starts;
    alignas(16) std::array<float, kRowTile> centres;
    int64_t query;
    int64_t row;
    int64_t rest_of_row;  // queries of the first row
    int64_t heads;
  };

  /// Raises each row's lanes to the bounds of kRows queries from `query` on, of `heads` a row.
  template <bool kStored, int kRows>
  FMA_BOUND_CODE __attribute__((noinline)) void MatchTile(int64_t query, int64_t heads) const {
    Tile tile;
    tile.query = query;
    tile.row = query / heads;
    tile.rest_of_row = heads - query % heads;
    tile.heads = heads;
    Begin<kRows>(tile);
    int64_t first = 0;
    for (; first + 2 * kLanes <= stride_; first += 2 * kLanes) {
      MatchColumns<kStored, kRows, 2>(tile, first);
    }
    if (first < stride_) MatchColumns<kStored, kRows, 1>(tile, first);
  }

  template <int kRows>
  FMA_BOUND_INLINE void Begin(Tile& tile) const {
    const float* scaled = &scan_.scaled[(form_ * scan_.queries + tile.query) * scan_.dim];
    __m512 sums[kRowTile];
    for (__m512& sum : sums) sum = _mm512_setzero_ps();
    for (int64_t c = 0; c < scan_.dim; c += kLanes) {
      const __m512 mean = _mm512_load_ps(&work_.means[c]);
      for (int r = 0; r < kRows; ++r) {
        sums[r] = _mm512_fmadd_ps(_mm512_load_ps(scaled + r * scan_.dim + c), mean, sums[r]);
      }
    }
    const int64_t q = tile.query;
    const __m128 products = _mm_add_ps(SumsOfLanes(sums), _mm_load_ps(&work_.mean_slacks[q]));
    _mm_store_ps(tile.centres.data(),
                 _mm_fmadd_ps(products, _mm_load_ps(&work_.steps[q]), _mm_set1_ps(1e-30F)));
    const __m128 slack = _mm_fmadd_ps(_mm_load_ps(&work_.rests[q]), _mm_set1_ps(length_),
                                      _mm_load_ps(&work_.slacks[q]));
    const __m128i starts = _mm_load_si128(reinterpret_cast<const __m128i*>(&work_.starts[q]));
    _mm_store_si128(reinterpret_cast<__m128i*>(tile.starts.data()),
                    _mm_add_epi32(starts, _mm_cvtps_epi32(slack)));
  }

  FMA_BOUND_INLINE static __m128 SumsOfLanes(const __m512 (&v)[kRowTile]) {
    const __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    const __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    const __m512 four = _mm512_add_ps(_mm512_shuffle_ps(a, b, _MM_SHUFFLE(1, 0, 1, 0)),
                                      _mm512_shuffle_ps(a, b, _MM_SHUFFLE(3, 2, 3, 2)));
    const __m256 half =
        _mm256_add_ps(_mm512_castps512_ps256(four), _mm512_extractf32x8_ps(four, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  }

  template <bool kStored, int kRows, int kVecs>
  FMA_BOUND_INLINE void MatchColumns(const Tile& tile, int64_t first) const {
    __m512i sums[kRows][kVecs];
    SumProducts<kStored>(tile, first, sums);
    float* lanes = &scan_.lanes[tile.row * kLanes];
    int64_t left = tile.rest_of_row;
    __m512 largest = _mm512_load_ps(lanes);
    for (int r = 0; r < kRows; ++r, --left) {
      if (left == 0) {
        _mm512_store_ps(lanes, largest);
        lanes += kLanes;
        left = tile.heads;
        largest = _mm512_load_ps(lanes);
      }
      __m512 most = _mm512_set1_ps(kNever);
      for (int v = 0; v < kVecs; ++v) {
        const int64_t at = first + v * kLanes;
        most = _mm512_max_ps(
            _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r][v]), _mm512_load_ps(&work_.factors[at]),
                            _mm512_load_ps(&work_.hidden[at])),
            most);
      }
      const __m512 bound = _mm512_fmadd_ps(most, _mm512_set1_ps(work_.scales[tile.query + r]),
                                           _mm512_set1_ps(tile.centres[r]));
      largest = _mm512_max_ps(bound, largest);  // which a NaN leaves as it is
    }
    _mm512_store_ps(lanes, largest);
  }

  template <bool kStored, int kRows, int kVecs>
  FMA_BOUND_INLINE void SumProducts(const Tile& tile, int64_t first,
                                    __m512i (&sums)[kRows][kVecs]) const {
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVecs; ++v) sums[r][v] = _mm512_set1_epi32(tile.starts[r]);
    }
    const int64_t row = scan_.dim / 4;
    const auto* numbers = reinterpret_cast<const int32_t*>(work_.numbers.get()) + tile.query * row;
    const int32_t* stored = &work_.levels[first];
    const int64_t fours = scan_.pairs / 2;
    for (int64_t four = 0; four < fours; ++four) {
      __m512i levels[kVecs];
      for (int v = 0; v < kVecs; ++v) {
        levels[v] = kStored ? _mm512_load_si512(stored + four * stride_ + v * kLanes)
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

  /// The Y, plus 128, of four channels of 16 tokens from `first` on, in the order of TokenOf().
  FMA_BOUND_INLINE __m512i Levels(int64_t four, int64_t first) const {
    alignas(64) static constexpr auto kShifts = CodeShifts();
    const uint8_t* from = codes_ + four * tokens_ + first;
    const __m128i codes = tokens_ - first >= kLanes
                              ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))
                              : _mm_maskz_loadu_epi8(First(tokens_ - first), from);
    const __m512i shifted = _mm512_multishift_epi64_epi8(_mm512_load_si512(kShifts.data()),
                                                         _mm512_broadcast_i32x4(codes));
    // Two bits of the code after two of the channel: (shifted & 3) | channel.
    const __m512i index = _mm512_ternarylogic_epi32(shifted, _mm512_set1_epi8(3),
                                                    _mm512_set1_epi32(0x0C080400), 0xEA);
    const __m128i table =
        _mm_load_si128(reinterpret_cast<const __m128i*>(&work_.levels_of[4 * four]));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), index);
  }

  SketchLayout layout_;
  int64_t dim_;
  int64_t tokens_;
  int64_t stride_;
  ScanScratch& scan_;
  BoundScratch& work_;
  const float root_;  // of the channels' number

  // Of the queries:
  int form_ = 0;
  int64_t count_ = 0;
  float mean_limit_ = 0;
  float most_reach_ = 0;

  // Of the unit:
  float length_ = 0;  // no vector Y of a token is longer
  const uint8_t* codes_ = nullptr;
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#else  // HWY_TARGET == HWY_AVX3

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// Other targets have no bounds.
template <typename T>
class SketchBound {
 public:
  static bool Serves() { return false; }
  SketchBound(const ArchiveLayout& /*layout*/, OpenScratch& /*scratch*/) {}
  void SetQueries(int /*form*/, int64_t /*count*/, std::span<const std::byte* const> /*sketches*/) {
  }
  bool SetUnit(const std::byte* /*sketch*/, int64_t /*sinks*/) { return false; }
  void Match(int64_t /*heads*/, float* /*bounds*/, int64_t /*stride*/) const {}
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET == HWY_AVX3
#endif
