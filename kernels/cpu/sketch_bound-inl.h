// Bounds: no score of a query and a unit (sketch_scan-inl.h) is above its bound, which costs much
// less. A query q and the tokens i of a unit have the products
//
//   q . mean + f_i * sum over channels c of q_c * deviation_c * level_ic
//
// Here the second sum is one of 8-bit integers, which one instruction multiplies for four channels:
// X_c near x_c = a q_c w_c, and Y_ic near y_ic = b deviation_c level_ic / w_c, where w is the mean
// of deviations and is the same for many units, so that a query's numbers are too; b is the unit's.
// With |v| for the Euclidean length of v, Cauchy and Schwarz say
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

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

inline constexpr float kUp = 1.0001F;  // more than rounding takes from sums of squares
inline constexpr float kHuge = 1e15F;  // numbers beyond this could overflow
inline constexpr float kTiny = 1e-20F;

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

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

/// The size of numbers, 0 where they are none or huge.
FMA_BOUND_INLINE __m512 Tame(__m512 numbers) {
  const __m512 sizes = _mm512_abs_ps(numbers);
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(sizes, _mm512_set1_ps(kHuge), _CMP_LE_OQ), sizes);
}

/// The largest number in each of 16 vectors.
FMA_BOUND_INLINE __m512 LargestOfLanes(const float* vectors) {
  __m512 pairs[8];
  for (int i = 0; i < 8; ++i) {
    const __m512 a = _mm512_load_ps(vectors + 32 * i);
    const __m512 b = _mm512_load_ps(vectors + 32 * i + 16);
    pairs[i] = _mm512_max_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  }
  __m512 fours[4];
  for (int i = 0; i < 4; ++i) {
    fours[i] =
        _mm512_max_ps(_mm512_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], _MM_SHUFFLE(1, 0, 1, 0)),
                      _mm512_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], _MM_SHUFFLE(3, 2, 3, 2)));
  }
  __m512 eights[2];
  for (int i = 0; i < 2; ++i) {
    eights[i] = _mm512_max_ps(
        _mm512_shuffle_f32x4(fours[2 * i], fours[2 * i + 1], _MM_SHUFFLE(1, 0, 1, 0)),
        _mm512_shuffle_f32x4(fours[2 * i], fours[2 * i + 1], _MM_SHUFFLE(3, 2, 3, 2)));
  }
  return _mm512_max_ps(_mm512_shuffle_f32x4(eights[0], eights[1], _MM_SHUFFLE(2, 0, 2, 0)),
                       _mm512_shuffle_f32x4(eights[0], eights[1], _MM_SHUFFLE(3, 1, 3, 1)));
}

/// T: the cache's element type.
template <typename T>
class SketchBound {
 public:
  /// Whether this processor has the instructions, and units consist of whole vectors.
  static bool Serves(const ArchiveLayout& layout) {
    static const bool kHas =
        __builtin_cpu_supports("avx512vbmi") > 0 && __builtin_cpu_supports("avx512vnni") > 0;
    return kHas && layout.head_dim % kLanes == 0 && layout.unit_tokens % kLanes == 0;
  }

  SketchBound(const ArchiveLayout& layout, OpenScratch& scratch)
      : layout_(layout.Sketch()),
        dim_(layout.head_dim),
        tokens_(layout.unit_tokens),
        scan_(scratch.scan),
        work_(scratch.bound),
        root_(std::sqrt(static_cast<float>(dim_))) {}

  /// Prepares the first `count` queries of the scan in form number `form` for units like
  /// `sketches`, which are not none. Null stands for no unit.
  FMA_BOUND_CODE void SetQueries(int form, int64_t count,
                                 std::span<const std::byte* const> sketches) {
    SetWeights(sketches);
    form_ = form;
    count_ = count;
    for (int64_t i = 0; i < count; ++i) SetQuery(i);
  }

  /// Reads the means of up to kUnits sketches.
  FMA_BOUND_CODE void MatchMeans(std::span<const std::byte* const> sketches) {
    for (size_t u = 0; u < sketches.size(); ++u) {
      if (sketches[u] == nullptr) continue;
      const auto* means = reinterpret_cast<const T*>(sketches[u]);
      for (int64_t c = 0; c < dim_; c += kLanes) {
        _mm512_store_ps(&work_.means[u * dim_ + c], Load(means + c));
      }
    }
    for (int64_t query = 0; query < count_; query += kMany * kLanes) MatchMeansOf(query);
  }

  /// Reads a sketch, which was number `place` of those that means were read of; its first `sinks`
  /// tokens are never met. False: it has no bounds, because its numbers are not like the others'.
  FMA_BOUND_CODE bool SetUnit(const std::byte* sketch, int64_t sinks, int64_t place) {
    __m512 most = _mm512_setzero_ps();
    __m512i bad = SetRatios(sketch, most);
    const float largest = _mm512_reduce_max_ps(most);
    const float gain = largest > kTiny ? kMost / largest : 1.0F;
    const __m512 rests = SetChannels(gain);
    bad = _mm512_or_si512(SetTokens(sketch, sinks, gain), bad);
    codes_ = reinterpret_cast<const uint8_t*>(sketch + layout_.codes_offset);
    const float length = std::sqrt(static_cast<float>(Unpack())) * kUp;
    const float rest = std::sqrt(_mm512_reduce_add_ps(rests)) * kUp;
    const float* products = &work_.products[place * work_.stride];
    for (int64_t query = 0; query < count_; query += kLanes) {
      SetCentres(query, products + query, length, rest);
    }
    return _mm512_test_epi32_mask(bad, bad) == 0;
  }

  /// Sets bounds[row * stride] to bounds for the queries of each row, `heads` a row, and the unit.
  FMA_BOUND_CODE void Match(int64_t heads, float* bounds, int64_t stride) const {
    const int64_t rows = count_ / heads;
    for (int64_t row = 0; row < rows; ++row) {
      _mm512_store_ps(&scan_.lanes[row * kLanes], _mm512_set1_ps(kLeast));
    }
    MatchAll(heads);
    for (int64_t row = 0; row < rows; row += kLanes) {
      alignas(64) std::array<float, kLanes> largest;
      _mm512_store_ps(largest.data(), LargestOfLanes(&scan_.lanes[row * kLanes]));
      for (int64_t i = 0; i < std::min(kLanes, rows - row); ++i) {
        bounds[(row + i) * stride] = largest[i];
      }
    }
  }

  static constexpr float kLeast = -std::numeric_limits<float>::max();

 private:
  static constexpr int64_t kLanes = 16;
  static constexpr int kTile = 6;  // queries, so that their sums keep both multipliers busy
  static constexpr int kUnits = BoundScratch::kUnits;
  static constexpr int64_t kMany = BoundScratch::kColumns / kLanes;
  static constexpr float kMost = 127.0F;  // of numbers of 8 bits
  static constexpr float kNever = -std::numeric_limits<float>::infinity();
  static constexpr float kOuter = 1.51F;  // level 10, in deviations
  static constexpr int64_t kSamples = 16;

  FMA_BOUND_INLINE static __m512 Load(const float* from) { return _mm512_loadu_ps(from); }
  FMA_BOUND_INLINE static __m512 Load(const BFloat16* from) {
    const __m256i numbers = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(numbers), 16));
  }

  /// Sets what channels weigh, the mean deviation of some of these units, and what means may reach.
  FMA_BOUND_CODE void SetWeights(std::span<const std::byte* const> sketches) {
    float* weights = work_.weights.get();
    std::fill_n(weights, dim_, 0.0F);
    __m512 mean = _mm512_setzero_ps();
    const int64_t count = std::ssize(sketches);
    const int64_t samples = std::min(count, kSamples);
    const __m512 share = _mm512_set1_ps(1.0F / static_cast<float>(samples));
    for (int64_t i = 0; i < samples; ++i) {
      const std::byte* sketch = sketches[i * count / samples];
      if (sketch == nullptr) continue;
      const auto* means = reinterpret_cast<const T*>(sketch);
      const auto* deviations = reinterpret_cast<const T*>(sketch + layout_.deviation_offset);
      for (int64_t c = 0; c < dim_; c += kLanes) {
        mean = _mm512_max_ps(Tame(Load(means + c)), mean);
        _mm512_store_ps(weights + c, _mm512_fmadd_ps(Tame(Load(deviations + c)), share,
                                                     _mm512_load_ps(weights + c)));
      }
    }
    mean_limit_ = 8 * _mm512_reduce_max_ps(mean) + kTiny;
    most_weight_ = std::max(*std::max_element(weights, weights + dim_), kTiny);
    for (int64_t c = 0; c < dim_; ++c) {
      weights[c] = std::max(weights[c], most_weight_ / 1024);
      work_.inverses[c] = 1.0F / weights[c];
    }
  }

  FMA_BOUND_CODE void SetQuery(int64_t index) {
    const float* scaled = &scan_.scaled[(form_ * scan_.queries + index) * dim_];
    __m512 largest = _mm512_setzero_ps();
    for (int64_t c = 0; c < dim_; c += kLanes) {
      largest = _mm512_max_ps(_mm512_abs_ps(Weighted(scaled, c)), largest);
    }
    const float most = _mm512_reduce_max_ps(largest);
    const float gain = most > kTiny ? kMost / most : 1.0F;
    __m512 rests = _mm512_setzero_ps();
    __m512 squares = _mm512_setzero_ps();
    __m512 plain = _mm512_setzero_ps();
    __m512i total = _mm512_setzero_si512();
    for (int64_t c = 0; c < dim_; c += kLanes) {
      const __m512 x = _mm512_mul_ps(Weighted(scaled, c), _mm512_set1_ps(gain));
      const __m512i number = _mm512_cvtps_epi32(x);
      const __m512 rest = _mm512_sub_ps(x, _mm512_cvtepi32_ps(number));
      const __m512 query = _mm512_load_ps(scaled + c);
      for (int64_t i = 0; i < kLanes; ++i) {
        work_.columns[(c + i) * work_.stride + index] = scaled[c + i];
      }
      rests = _mm512_fmadd_ps(rest, rest, rests);
      squares = _mm512_fmadd_ps(x, x, squares);
      plain = _mm512_fmadd_ps(query, query, plain);
      total = _mm512_add_epi32(total, number);
      alignas(16) std::array<int32_t, 4> fours;
      _mm_store_si128(reinterpret_cast<__m128i*>(fours.data()), _mm512_cvtepi32_epi8(number));
      for (int64_t i = 0; i < 4; ++i) work_.numbers[(c / 4 + i) * scan_.queries + index] = fours[i];
    }
    const float step = scan_.steps[form_ * scan_.queries + index];
    work_.steps[index] = step;
    work_.starts[index] = -128 * _mm512_reduce_add_epi32(total);
    work_.rests[index] = std::sqrt(_mm512_reduce_add_ps(rests)) * kUp;
    work_.scales[index] = step <= kHuge ? step / gain : 0.0F;
    work_.lengths[index] = std::sqrt(_mm512_reduce_add_ps(squares)) * kUp;
    const float plain_length = std::sqrt(_mm512_reduce_add_ps(plain)) * kUp;
    SetSlack(index, gain, step <= kHuge ? plain_length : -kNever);
  }

  FMA_BOUND_INLINE __m512 Weighted(const float* scaled, int64_t c) const {
    return _mm512_mul_ps(_mm512_load_ps(scaled + c), _mm512_load_ps(&work_.weights[c]));
  }

  /// What is added to a query's sums of integers, apart from what depends on the unit, and to its
  /// products with means. Its x are `gain` times the query and what channels weigh; `plain` is the
  /// length of the query itself.
  void SetSlack(int64_t index, float gain, float plain) {
    const auto dim = static_cast<float>(dim_);
    const float of_floats = 0x1p-16F * (kMost + 1) * root_ * work_.lengths[index];
    // In scores, a half for each channel's number times a level of 10 at most.
    const float of_numbers = kMost / 10 * 5 * dim * gain * most_weight_;
    work_.slacks[index] = kUp * (of_floats + of_numbers) + 1;
    // Here the products with means are added one by one.
    work_.mean_slacks[index] = kUp * (dim + 8) * 0x1p-23F * root_ * mean_limit_ * plain;
  }

  /// Not 0 in lanes where numbers are not in [0, most] or no numbers: as integers, all these are
  /// larger.
  FMA_BOUND_INLINE static __m512i Beyond(__m512 numbers, __m512 most, __m512i others) {
    const __m512i end = _mm512_castps_si512(most);
    const __m512i larger = _mm512_max_epu32(_mm512_castps_si512(numbers), end);
    return _mm512_ternarylogic_epi32(larger, end, others, 0x3C | 0xAA);  // (larger ^ end) | others
  }

  /// Reads means and deviations, and raises lanes to the ratios of deviations and weights. Returns
  /// what is not like others.
  FMA_BOUND_INLINE __m512i SetRatios(const std::byte* sketch, __m512& most) {
    const auto* means = reinterpret_cast<const T*>(sketch);
    const auto* deviations = reinterpret_cast<const T*>(sketch + layout_.deviation_offset);
    __m512i bad = _mm512_setzero_si512();
    for (int64_t c = 0; c < dim_; c += kLanes) {
      bad = Beyond(_mm512_abs_ps(Load(means + c)), _mm512_set1_ps(mean_limit_), bad);
      const __m512 ratio = _mm512_mul_ps(Load(deviations + c), _mm512_load_ps(&work_.inverses[c]));
      bad = Beyond(ratio, _mm512_set1_ps(kHuge), bad);
      _mm512_store_ps(&work_.ratios[c], ratio);
      most = _mm512_max_ps(ratio, most);
    }
    return bad;
  }

  /// Sets the Y of every channel and code to the integers nearest to `gain` times its ratio.
  /// Returns lanes whose sum no |y - Y|^2 of a token is above.
  FMA_BOUND_INLINE __m512 SetChannels(float gain) {
    uint32_t* levels = work_.levels_of.get();
    __m512 rests = _mm512_setzero_ps();
    for (int64_t c = 0; c < dim_; c += kLanes) {
      const __m512 outer = _mm512_mul_ps(_mm512_load_ps(&work_.ratios[c]), _mm512_set1_ps(gain));
      const __m512 inner = _mm512_mul_ps(outer, _mm512_set1_ps(0.3F));
      const __m512i outer_number = _mm512_cvtps_epi32(outer);
      const __m512i inner_number = _mm512_cvtps_epi32(inner);
      const __m512 outer_rest =
          _mm512_abs_ps(_mm512_sub_ps(outer, _mm512_cvtepi32_ps(outer_number)));
      const __m512 inner_rest =
          _mm512_abs_ps(_mm512_sub_ps(inner, _mm512_cvtepi32_ps(inner_number)));
      const __m512 rest = _mm512_max_ps(outer_rest, inner_rest);
      rests = _mm512_fmadd_ps(rest, rest, rests);
      const __m512i both = _mm512_add_epi32(inner_number, _mm512_slli_epi32(outer_number, 16));
      const __m512i bytes = _mm512_sub_epi32(both, _mm512_slli_epi32(both, 8));
      _mm512_store_si512(levels + c, _mm512_add_epi32(bytes, _mm512_set1_epi8(-128)));
    }
    return rests;
  }

  /// Reads factors. Returns what is not like others.
  FMA_BOUND_INLINE __m512i SetTokens(const std::byte* sketch, int64_t sinks, float gain) {
    alignas(64) static constexpr auto kTokens = TokensOfLanes();
    const __m512i tokens = _mm512_load_si512(kTokens.data());
    const auto* from = reinterpret_cast<const T*>(sketch + layout_.factors_offset);
    float* factors = work_.factors.get();
    float* hidden = work_.hidden.get();
    __m512i bad = _mm512_setzero_si512();
    for (int64_t first = 0; first < tokens_; first += kLanes) {
      const __m512 factor = Load(from + first);
      bad = Beyond(factor, _mm512_set1_ps(kHuge), bad);
      const __m512 scaled = _mm512_mul_ps(factor, _mm512_set1_ps(kOuter / gain));
      _mm512_store_ps(factors + first, _mm512_permutexvar_ps(tokens, scaled));
      const auto begin = static_cast<int32_t>(sinks - first);
      const __mmask16 met = _mm512_cmpge_epi32_mask(tokens, _mm512_set1_epi32(begin));
      _mm512_store_ps(hidden + first,
                      _mm512_mask_mov_ps(_mm512_set1_ps(kNever), met, _mm512_setzero_ps()));
    }
    return bad;
  }

  /// Products of some queries with the means of all units.
  FMA_BOUND_INLINE void MatchMeansOf(int64_t query) {
    const float* columns = &work_.columns[query];
    const float* means = work_.means.get();
    __m512 sums[kUnits][kMany] = {};
    for (int64_t c = 0; c < dim_; ++c, columns += work_.stride) {
      __m512 channel[kMany];
      for (int v = 0; v < kMany; ++v) channel[v] = _mm512_load_ps(columns + v * kLanes);
      for (int u = 0; u < kUnits; ++u) {
        const __m512 mean = _mm512_set1_ps(means[u * dim_ + c]);
        for (int v = 0; v < kMany; ++v) sums[u][v] = _mm512_fmadd_ps(channel[v], mean, sums[u][v]);
      }
    }
    for (int u = 0; u < kUnits; ++u) {
      float* products = &work_.products[u * work_.stride + query];
      for (int v = 0; v < kMany; ++v) _mm512_store_ps(products + v * kLanes, sums[u][v]);
    }
  }

  /// Of 16 queries, from their products with means on. No |Y| of a token is above `length`, and no
  /// |y - Y| above `rest`.
  FMA_BOUND_INLINE void SetCentres(int64_t query, const float* products, float length, float rest) {
    const __m512 most =
        _mm512_add_ps(_mm512_load_ps(products), _mm512_load_ps(&work_.mean_slacks[query]));
    _mm512_store_ps(
        &work_.centres[query],
        _mm512_fmadd_ps(most, _mm512_load_ps(&work_.steps[query]), _mm512_set1_ps(1e-30F)));
    const __m512 of_levels =
        _mm512_fmadd_ps(_mm512_load_ps(&work_.lengths[query]), _mm512_set1_ps(rest),
                        _mm512_load_ps(&work_.slacks[query]));
    const __m512 slacks =
        _mm512_fmadd_ps(_mm512_load_ps(&work_.rests[query]), _mm512_set1_ps(length), of_levels);
    _mm512_store_si512(
        &work_.unit_starts[query],
        _mm512_add_epi32(_mm512_load_si512(&work_.starts[query]), _mm512_cvtps_epi32(slacks)));
  }

  /// Unpacks the codes to the Y, plus 128, of all tokens and channels. Returns the largest |Y|^2 of
  /// a token.
  FMA_BOUND_INLINE int32_t Unpack() {
    __m512i largest = _mm512_setzero_si512();
    for (int64_t first = 0; first < tokens_; first += kLanes) {
      const uint8_t* codes = codes_ + first;
      const uint32_t* table = work_.levels_of.get();
      int32_t* to = work_.levels.get() + first;
      __m512i squares = _mm512_setzero_si512();
      for (int64_t four = 0; four < dim_ / 4; ++four, table += 4) {
        const __m512i levels = Levels(codes, table);
        _mm512_store_si512(to, levels);
        const __m512i sizes = _mm512_abs_epi8(_mm512_xor_si512(levels, _mm512_set1_epi8(-128)));
        squares = _mm512_dpbusd_epi32(squares, sizes, sizes);
        codes += tokens_;
        to += tokens_;
      }
      largest = _mm512_max_epi32(squares, largest);
    }
    return _mm512_reduce_max_epi32(largest);
  }

  /// Some queries, of `heads` a row: which rows they are of.
  struct Tile {
    int64_t heads;
    int64_t query = 0;
    int64_t row = 0;
    int64_t rest_of_row;  // queries of the first row
  };

  FMA_BOUND_INLINE void MatchAll(int64_t heads) const {
    Tile tile = {.heads = heads, .rest_of_row = heads};
    for (; tile.query + kTile <= count_; tile.query += kTile) MatchTile<kTile>(tile);
    for (; tile.query + 2 <= count_; tile.query += 2) MatchTile<2>(tile);
    if (tile.query < count_) MatchTile<1>(tile);
  }

  /// Raises each row's lanes to the bounds of kRows queries, and goes on to the row behind them.
  template <int kRows>
  FMA_BOUND_INLINE void MatchTile(Tile& tile) const {
    int64_t first = 0;
    for (; first + 2 * kLanes <= tokens_; first += 2 * kLanes) {
      MatchColumns<kRows, 2>(tile, first);
    }
    if (first < tokens_) MatchColumns<kRows, 1>(tile, first);
    tile.rest_of_row -= kRows;
    while (tile.rest_of_row <= 0) {
      tile.rest_of_row += tile.heads;
      ++tile.row;
    }
  }

  template <int kRows, int kVecs>
  FMA_BOUND_INLINE void MatchColumns(const Tile& tile, int64_t first) const {
    __m512i sums[kRows][kVecs];
    SumProducts(tile, first, sums);
    const float* centres = &work_.centres[tile.query];
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
                                           _mm512_set1_ps(centres[r]));
      largest = _mm512_max_ps(bound, largest);  // which a NaN leaves as it is
    }
    _mm512_store_ps(lanes, largest);
  }

  template <int kRows, int kVecs>
  FMA_BOUND_INLINE void SumProducts(const Tile& tile, int64_t first,
                                    __m512i (&sums)[kRows][kVecs]) const {
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVecs; ++v) {
        sums[r][v] = _mm512_set1_epi32(work_.unit_starts[tile.query + r]);
      }
    }
    const int64_t queries = scan_.queries;
    const int32_t* numbers = &work_.numbers[tile.query];
    const int32_t* end = numbers + dim_ / 4 * queries;
    const int32_t* unpacked = &work_.levels[first];
    const int64_t tokens = tokens_;
    for (; numbers < end; numbers += queries) {
      __m512i levels[kVecs];
      for (int v = 0; v < kVecs; ++v) {
        levels[v] = _mm512_load_si512(unpacked + v * kLanes);
      }
      for (int r = 0; r < kRows; ++r) {
        const __m512i query = _mm512_set1_epi32(numbers[r]);
        for (int v = 0; v < kVecs; ++v) {
          sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], levels[v], query);
        }
      }
      unpacked += tokens;
    }
  }

  /// The Y, plus 128, of four channels of 16 tokens, in the order of TokenOf(), by the codes of the
  /// tokens and the `table` of the channels.
  FMA_BOUND_INLINE static __m512i Levels(const uint8_t* codes, const uint32_t* table) {
    alignas(64) static constexpr auto kShifts = CodeShifts();
    const __m512i sixteen =
        _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
    const __m512i shifted =
        _mm512_multishift_epi64_epi8(_mm512_load_si512(kShifts.data()), sixteen);
    // Two bits of the code after two of the channel: (shifted & 3) | channel.
    const __m512i index = _mm512_ternarylogic_epi32(shifted, _mm512_set1_epi8(3),
                                                    _mm512_set1_epi32(0x0C080400), 0xEA);
    return _mm512_shuffle_epi8(
        _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(table))), index);
  }

  SketchLayout layout_;
  int64_t dim_;
  int64_t tokens_;
  ScanScratch& scan_;
  BoundScratch& work_;
  const float root_;  // of the channels' number

  // Of the queries:
  int form_ = 0;
  int64_t count_ = 0;
  float mean_limit_ = 0;
  float most_weight_ = 0;

  const uint8_t* codes_ = nullptr;  // of the unit
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
  static bool Serves(const ArchiveLayout& /*layout*/) { return false; }
  SketchBound(const ArchiveLayout& /*layout*/, OpenScratch& /*scratch*/) {}
  void SetQueries(int /*form*/, int64_t /*count*/, std::span<const std::byte* const> /*sketches*/) {
  }
  void MatchMeans(std::span<const std::byte* const> /*sketches*/) {}
  bool SetUnit(const std::byte* /*sketch*/, int64_t /*sinks*/, int64_t /*place*/) { return false; }
  void Match(int64_t /*heads*/, float* /*bounds*/, int64_t /*stride*/) const {}
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET == HWY_AVX3
#endif
