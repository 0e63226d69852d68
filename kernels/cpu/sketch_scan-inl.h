// How well queries match the sketches of units: the products of a block's queries with what
// sketches say of keys. docs/model.md, "Opened units".
//
// The levels of a sketch are 3 and 10 in units of 0.151 deviations, exactly. So in units of a step
// of their own the products are sums of integers, one 16-bit number a query and channel times 3 or
// 10, which are exact and therefore the same however they are computed. Only the 16-bit numbers are
// rounded: to 2^-16 of the largest query channel times the largest deviation of the unit.

#if defined(FMA_KERNELS_CPU_SKETCH_SCAN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_SKETCH_SCAN_INL_H_
#undef FMA_KERNELS_CPU_SKETCH_SCAN_INL_H_
#else
#define FMA_KERNELS_CPU_SKETCH_SCAN_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/load-inl.h"
#include "kernels/fma/archive_layout.h"
#include "kernels/fma/element.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

using IntTag = hn::RebindToSigned<FloatTag>;
using IntVec = hn::Vec<IntTag>;

/// What a deviation times 3 or 10 is multiplied by.
inline constexpr float kLevelStep = 0.151F;
inline constexpr float kLargestStep = 32767.0F;

/// The levels of two channels, by the codes of both.
inline constexpr std::array<uint32_t, 16> PairsOfLevels() {
  std::array<uint32_t, 16> pairs = {};
  for (uint32_t code = 0; code < 16; ++code) {
    const auto low = static_cast<uint16_t>(kLevelSteps[code & 3]);
    const auto high = static_cast<uint16_t>(kLevelSteps[code >> 2]);
    pairs[code] = low | uint32_t{high} << 16;
  }
  return pairs;
}

/// The pairs of levels that the lowest four bits of each lane name.
template <class Codes>
HWY_INLINE IntVec LevelsOf(Codes codes) {
  const hn::Rebind<uint32_t, IntTag> d;
  [[maybe_unused]] static constexpr std::array<uint32_t, 16> kPairs = PairsOfLevels();
  const auto code = hn::And(codes, hn::Set(d, 15));
#if HWY_TARGET == HWY_SCALAR
  return hn::BitCast(IntTag(), hn::Set(d, kPairs[hn::GetLane(code)]));
#else
  if constexpr (hn::MaxLanes(IntTag()) == 16) {
    const auto table = hn::BitCast(IntTag(), hn::LoadU(d, kPairs.data()));
    return hn::TableLookupLanes(table, hn::IndicesFromVec(IntTag(), code));
  }
  // Low bytes of 3, -3, 10 and -10, then their high bytes; each byte of a pair looks up its own.
  alignas(16) static constexpr uint8_t kBytes[16] = {3, 253, 10, 246, 0, 255, 0, 255};
  const hn::Repartition<uint8_t, IntTag> bytes;
  const auto low = hn::And(hn::Or(code, hn::ShiftLeft<14>(code)), hn::Set(d, 0x00030003U));
  const auto both = hn::Or(hn::Or(low, hn::ShiftLeft<8>(low)), hn::Set(d, 0x04000400U));
  return hn::BitCast(IntTag(),
                     hn::TableLookupBytes(hn::LoadDup128(bytes, kBytes), hn::BitCast(bytes, both)));
#endif
}

/// Adds the products of two pairs of 16-bit numbers in every lane. The sum of both is the result.
HWY_INLINE void AddProducts(IntVec a, IntVec b, IntVec& sum, IntVec& rest) {
  [[maybe_unused]] const IntTag d;
#if HWY_TARGET == HWY_SCALAR
  const auto low = [](IntVec pair) { return hn::ShiftRight<16>(hn::ShiftLeft<16>(pair)); };
  sum = hn::Add(sum, hn::Mul(low(a), low(b)));
  rest = hn::Add(rest, hn::Mul(hn::ShiftRight<16>(a), hn::ShiftRight<16>(b)));
#else
  const hn::Repartition<int16_t, IntTag> pairs;
  sum = hn::ReorderWidenMulAccumulate(d, hn::BitCast(pairs, a), hn::BitCast(pairs, b), sum, rest);
#endif
}

/// T: the cache's element type.
template <typename T>
class SketchScan {
 public:
  SketchScan(const ArchiveLayout& layout, OpenScratch& scratch)
      : layout_(layout.Sketch()),
        dim_(layout.head_dim),
        tokens_(layout.unit_tokens),
        scratch_(scratch),
        work_(scratch.scan) {}

  /// Prepares `count` queries [count, d] as form number `form`.
  void SetQueries(int form, const float* queries, int64_t count) const {
    for (int64_t i = 0; i < count; ++i, queries += dim_) {
      float largest = 0;
      for (int64_t c = 0; c < dim_; ++c) largest = std::max(largest, std::abs(queries[c]));
      float* to = Scaled(form, i);
      const float scale = largest > 0 ? kLargestStep / largest : 0.0F;
      for (int64_t c = 0; c < dim_; ++c) to[c] = queries[c] * scale;
      std::fill(to + dim_, to + work_.dim, 0.0F);
      work_.steps[form * work_.queries + i] = largest / kLargestStep;
    }
  }

  /// Reads a sketch, of which the first `sinks` tokens are never met, for so many queries.
  void SetUnit(const std::byte* sketch, int64_t sinks, int64_t queries) {
    const FloatTag d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    CopyFloats(sketch, dim_, work_.means.get());
    CopyFloats(sketch + layout_.deviation_offset, dim_, work_.deviations.get());
    FloatVec lane_largest = hn::Zero(d);
    for (int64_t c = 0; c < work_.dim; c += lanes) {
      lane_largest = hn::Max(hn::Load(d, &work_.deviations[c]), lane_largest);
    }
    const float largest = hn::GetLane(hn::MaxOfLanes(d, lane_largest));
    const FloatVec scale = hn::Set(d, largest > 0 ? 1.0F / largest : 0.0F);
    for (int64_t c = 0; c < work_.dim; c += lanes) {
      hn::Store(hn::Mul(hn::Load(d, &work_.deviations[c]), scale), d, &work_.deviations[c]);
    }
    CopyFloats(sketch + layout_.factors_offset, tokens_, work_.factors.get());
    const FloatVec step = hn::Set(d, largest * kLevelStep);
    for (int64_t i = 0; i < scratch_.unit_stride; i += lanes) {
      hn::Store(hn::Mul(hn::Load(d, &work_.factors[i]), step), d, &work_.factors[i]);
    }
    std::fill_n(work_.hidden.get(), sinks, kNever);
    std::fill_n(work_.hidden.get() + sinks, tokens_ - sinks, 0.0F);
    codes_ = reinterpret_cast<const uint8_t*>(sketch + layout_.codes_offset);
    stored_ = queries > kRowTile;
    if (stored_) Unpack();
  }

  /// Sets the work's `best` of `count` rows from `first` on to the largest product of any of the
  /// `heads` queries of a row, in form number `form`, with any token of the unit. NaN counts as the
  /// least.
  void Match(int form, int64_t first, int64_t count, int64_t heads) const {
    Forget(first, count);
    const Queries queries = {form, first * heads, (first + count) * heads, heads};
    if (stored_) {
      InTiles(queries, [&](auto tile, int64_t query) { MatchTile<true, tile>(queries, query); });
    } else {
      InTiles(queries, [&](auto tile, int64_t query) { MatchTile<false, tile>(queries, query); });
    }
    TakeBest(first, count);
  }

 private:
  /// Those in [first, end) in one form; `heads` of them are of one row.
  struct Queries {
    int form = 0;
    int64_t first = 0;
    int64_t end = 0;
    int64_t heads = 0;
  };

  static_assert(kRowTile == 4);
  static constexpr float kNever = -std::numeric_limits<float>::infinity();
  static constexpr int kVecs = 2;

  float* Scaled(int form, int64_t query) const {
    return &work_.scaled[(form * work_.queries + query) * work_.dim];
  }

  /// Numbers of a sketch as floats; what follows them up to a multiple of SlotLayout::kLane stays.
  static void CopyFloats(const std::byte* from, int64_t count, float* to) {
    const T* HWY_RESTRICT numbers = reinterpret_cast<const T*>(from);
    float* HWY_RESTRICT floats = to;
    for (int64_t i = 0; i < count; ++i) floats[i] = ToFloat(numbers[i]);
  }

  using ByteTag = hn::Rebind<uint8_t, FloatTag>;

  /// A vector of codes, of which `left` are there.
  static hn::Vec<ByteTag> LoadCodes(const uint8_t* codes, int64_t left) {
    if (left >= static_cast<int64_t>(hn::Lanes(ByteTag()))) return hn::LoadU(ByteTag(), codes);
    HWY_ALIGN uint8_t padded[hn::MaxLanes(FloatTag())] = {};
    std::copy_n(codes, left, padded);
    return hn::Load(ByteTag(), padded);
  }

  /// Sets the work's `levels` [pairs, u padded].
  void Unpack() const {
    const uint8_t* HWY_RESTRICT codes = codes_;
    const hn::Rebind<uint32_t, FloatTag> d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    const int64_t tokens = tokens_;
    const int64_t stride = scratch_.unit_stride;
    int32_t* HWY_RESTRICT levels = work_.levels.get();
    for (int64_t pairs = work_.pairs; pairs > 0; pairs -= 2) {
      for (int64_t first = 0; first < tokens; first += lanes) {
        const auto four = hn::PromoteTo(d, LoadCodes(codes + first, tokens - first));
        hn::Store(LevelsOf(four), IntTag(), levels + first);
        hn::Store(LevelsOf(hn::ShiftRight<4>(four)), IntTag(), levels + stride + first);
      }
      codes += tokens;
      levels += 2 * stride;
    }
  }

  /// Writes the 16-bit numbers of a query for the unit, and returns its product with the mean.
  float Quantise(const float* HWY_RESTRICT scaled, uint16_t* HWY_RESTRICT numbers) const {
    const FloatTag d;
    const hn::Rebind<uint32_t, FloatTag> d32;
    const hn::Rebind<uint16_t, FloatTag> d16;
    const float* HWY_RESTRICT means = work_.means.get();
    const float* HWY_RESTRICT deviations = work_.deviations.get();
    const FloatVec rounds = hn::Set(d, kRounds);
    FloatVec sum = hn::Zero(d);
    for (int64_t c = 0; c < work_.dim; c += static_cast<int64_t>(hn::Lanes(d))) {
      const FloatVec query = hn::Load(d, scaled + c);
      sum = hn::MulAdd(query, hn::Load(d, means + c), sum);
      const FloatVec rounded = hn::MulAdd(query, hn::Load(d, deviations + c), rounds);
      hn::Store(hn::TruncateTo(d16, hn::BitCast(d32, rounded)), d16, numbers + c);
    }
    return hn::GetLane(hn::SumOfLanes(d, sum));
  }

  void Forget(int64_t first, int64_t count) const {
    const auto lanes = static_cast<int64_t>(hn::Lanes(FloatTag()));
    std::fill_n(&work_.lanes[first * lanes], count * lanes, kNever);
  }

  void TakeBest(int64_t first, int64_t count) const {
    const FloatTag d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    for (int64_t row = first; row < first + count; ++row) {
      work_.best[row] = hn::GetLane(hn::MaxOfLanes(d, hn::Load(d, &work_.lanes[row * lanes])));
    }
  }

  /// Calls match(number of queries, first query) for all of them; the number is a constant.
  template <class Match>
  static void InTiles(const Queries& queries, const Match& match) {
    for (int64_t query = queries.first; query < queries.end; query += kRowTile) {
      switch (std::min<int64_t>(kRowTile, queries.end - query)) {
        case 1:
          match(std::integral_constant<int, 1>(), query);
          break;
        case 2:
          match(std::integral_constant<int, 2>(), query);
          break;
        case 3:
          match(std::integral_constant<int, 3>(), query);
          break;
        default:
          match(std::integral_constant<int, kRowTile>(), query);
      }
    }
  }

  template <bool kStored, int kRows>
  HWY_INLINE void MatchTile(const Queries& queries, int64_t query) const {
    const int form = queries.form;
    const int64_t heads = queries.heads;
    const FloatTag d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    std::array<float, kRows> centre;
    for (int r = 0; r < kRows; ++r) {
      centre[r] = Quantise(Scaled(form, query + r), &work_.numbers[r * work_.dim]);
    }
    // Of a narrow vector a unit has several, of a wide one at least one.
    int64_t first = 0;
    for (; first + kVecs * lanes <= scratch_.unit_stride; first += kVecs * lanes) {
      MatchColumns<kStored, kRows, kVecs>(form, query, heads, centre.data(), first);
    }
    for (; first < scratch_.unit_stride; first += lanes) {
      MatchColumns<kStored, kRows, 1>(form, query, heads, centre.data(), first);
    }
  }

  template <bool kStored, int kRows, int kCount>
  HWY_INLINE void MatchColumns(int form, int64_t query, int64_t heads, const float* centre,
                               int64_t first) const {
    const FloatTag d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    IntVec sum[kRows][kCount];
    SumProducts<kStored>(first, sum);
    for (int r = 0; r < kRows; ++r) {
      const FloatVec step = hn::Set(d, work_.steps[form * work_.queries + query + r]);
      float* best = &work_.lanes[(query + r) / heads * lanes];
      FloatVec largest = hn::Load(d, best);
      for (int v = 0; v < kCount; ++v) {
        const int64_t at = first + v * lanes;
        const FloatVec product = hn::MulAdd(hn::ConvertTo(d, sum[r][v]),
                                            hn::Load(d, &work_.factors[at]), hn::Set(d, centre[r]));
        const FloatVec score = hn::MulAdd(product, step, hn::Load(d, &work_.hidden[at]));
        largest = hn::IfThenElse(hn::Gt(score, largest), score, largest);
      }
      hn::Store(largest, d, best);
    }
  }

  /// The levels of four channels of kCount vectors of tokens from `first` on: of the stored ones,
  /// or straight from the codes.
  template <bool kStored, int kCount>
  HWY_INLINE void LevelsOfFour(int64_t four, int64_t first, IntVec (&low)[kCount],
                               IntVec (&high)[kCount]) const {
    const IntTag d;
    const hn::Rebind<uint32_t, FloatTag> codes_tag;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    for (int v = 0; v < kCount; ++v) {
      const int64_t token = first + v * lanes;
      if constexpr (kStored) {
        const int32_t* levels = work_.levels.get() + 2 * four * scratch_.unit_stride + token;
        low[v] = hn::Load(d, levels);
        high[v] = hn::Load(d, levels + scratch_.unit_stride);
      } else {
        const auto codes =
            hn::PromoteTo(codes_tag, LoadCodes(codes_ + four * tokens_ + token, tokens_ - token));
        low[v] = LevelsOf(codes);
        high[v] = LevelsOf(hn::ShiftRight<4>(codes));
      }
    }
  }

  template <bool kStored, int kRows, int kCount>
  HWY_INLINE void SumProducts(int64_t first, IntVec (&sum)[kRows][kCount]) const {
    const IntTag d;
    const auto* HWY_RESTRICT numbers = reinterpret_cast<const int32_t*>(work_.numbers.get());
    const int64_t row = work_.dim / 2;
    const int64_t fours = work_.pairs / 2;
    IntVec rest[kRows][kCount];
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kCount; ++v) sum[r][v] = rest[r][v] = hn::Zero(d);
    }
    for (int64_t four = 0; four < fours; ++four, numbers += 2) {
      IntVec low[kCount];
      IntVec high[kCount];
      LevelsOfFour<kStored>(four, first, low, high);
      for (int r = 0; r < kRows; ++r) {
        const IntVec query_low = hn::Set(d, numbers[r * row]);
        const IntVec query_high = hn::Set(d, numbers[r * row + 1]);
        for (int v = 0; v < kCount; ++v) {
          AddProducts(query_low, low[v], sum[r][v], rest[r][v]);
          AddProducts(query_high, high[v], sum[r][v], rest[r][v]);
        }
      }
    }
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kCount; ++v) sum[r][v] = hn::Add(sum[r][v], rest[r][v]);
    }
  }

  SketchLayout layout_;
  int64_t dim_;
  int64_t tokens_;
  OpenScratch& scratch_;
  ScanScratch& work_;
  const uint8_t* codes_ = nullptr;  // of the unit
  bool stored_ = false;             // its levels are in the work
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
