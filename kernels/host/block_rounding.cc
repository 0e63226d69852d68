#include "kernels/host/block_rounding.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/cpu/simd.h"
#include "kernels/fma/element.h"
#include "kernels/host/host_element.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/block_rounding.cc"
#include "hwy/foreach_target.h"  // must come first

#include "hwy/highway.h"
#include "kernels/cpu/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using cpu::HWY_NAMESPACE::FloatTag;
using cpu::HWY_NAMESPACE::FloatVec;
using cpu::HWY_NAMESPACE::LoadFloats;
using IntTag = hn::RebindToSigned<FloatTag>;
using IntVec = hn::Vec<IntTag>;
/// For sums over a block, which have eight parts.
using EighthTag = hn::CappedTag<float, 8>;
using EighthVec = hn::Vec<EighthTag>;

constexpr int64_t kLanes = hn::MaxLanes(FloatTag());
constexpr int64_t kEighthLanes = hn::MaxLanes(EighthTag());
constexpr int64_t kSums = 8;
constexpr float kMostOfFloat16 = 65504.0F;

/// Those of a block as float32; where a row ends before its block, zeros follow.
struct alignas(64) Numbers {
  float at[kWeightBlock];
};

template <typename T>
HWY_INLINE void LoadBlock(const std::byte* from, int64_t count, Numbers& numbers) {
  if (count >= kWeightBlock) {
    for (int64_t i = 0; i < kWeightBlock; i += kLanes) {
      hn::Store(LoadFloats(reinterpret_cast<const T*>(from) + i), FloatTag(), numbers.at + i);
    }
    return;
  }
  numbers = {};
  for (int64_t i = 0; i < count; ++i) numbers.at[i] = ToFloat(LoadUnaligned<T>(from, i));
}

/// To the nearest integer, of ties to even, for numbers below 2^22: a sum that has no bits behind
/// the point.
template <class Vec>
HWY_INLINE Vec RoundToInteger(Vec x) {
  const Vec shift = hn::Set(hn::DFromV<Vec>(), 0x1.8p23F);
  return (x + shift) - shift;
}

struct Extent {
  float least;
  float most;
  int32_t magnitude;  // the bits of the largest without its sign; of what is not finite, the most
};

HWY_INLINE Extent ExtentOf(const Numbers& numbers) {
  const FloatTag d;
  const IntTag ints;
  const IntVec no_sign = hn::Set(ints, 0x7FFFFFFF);
  FloatVec least = hn::Load(d, numbers.at);
  FloatVec most = least;
  IntVec magnitude = hn::And(hn::BitCast(ints, least), no_sign);
  for (int64_t i = kLanes; i < kWeightBlock; i += kLanes) {
    const FloatVec x = hn::Load(d, numbers.at + i);
    least = hn::Min(least, x);
    most = hn::Max(most, x);
    magnitude = hn::Max(magnitude, hn::And(hn::BitCast(ints, x), no_sign));
  }
  return {hn::GetLane(hn::MinOfLanes(d, least)), hn::GetLane(hn::MaxOfLanes(d, most)),
          hn::GetLane(hn::MaxOfLanes(ints, magnitude))};
}

/// The first of those that are farthest from zero.
HWY_INLINE float Extreme(const Numbers& numbers, const Extent& extent) {
  const float largest = std::bit_cast<float>(extent.magnitude);
  if (extent.most != largest) return -largest;
  if (extent.least != -largest) return largest;
  return *std::ranges::find_if(numbers.at, [&](float x) { return std::abs(x) == largest; });
}

HWY_INLINE Float16 AsHalf(float x) {
  return FromFloat<Float16>(std::clamp(x, -kMostOfFloat16, kMostOfFloat16));
}

/// What a code stands for, in units of the scale, is code - offset, least..most.
struct CodeRange {
  float least;
  float most;
  int32_t offset;
};
constexpr CodeRange kInt8Range = {-127, 127, 0};
constexpr CodeRange kInt4Range = {-kInt4Offset, 15 - kInt4Offset, kInt4Offset};
constexpr CodeRange kMinimaRange = {0, 15, 0};

constexpr CodeRange RangeOf(BlockKind kind) {
  if (kind.has_minima) return kMinimaRange;
  return kind.format == WeightFormat::kInt8 ? kInt8Range : kInt4Range;
}

/// The codes of the numbers, once scale and minimum of the block are there.
HWY_INLINE void SetCodes(const Numbers& numbers, CodeRange range, WeightBlock& block) {
  const FloatTag d;
  const hn::Rebind<int8_t, FloatTag> bytes;
  const float unit = ToFloat(block.scale);
  const FloatVec inverse = hn::Set(d, unit == 0 ? 0 : 1.0F / unit);
  const FloatVec minimum = hn::Set(d, ToFloat(block.minimum));
  const FloatVec least = hn::Set(d, range.least);
  const FloatVec most = hn::Set(d, range.most);
  const IntVec offset = hn::Set(IntTag(), range.offset);
  for (int64_t i = 0; i < kWeightBlock; i += kLanes) {
    const FloatVec multiples = (hn::Load(d, numbers.at + i) - minimum) * inverse;
    const FloatVec inside = hn::Min(hn::Max(multiples, least), most);
    hn::StoreU(hn::DemoteTo(bytes, hn::NearestInt(inside) + offset), bytes, &block.codes[i]);
  }
}

/// The sums of a block from their eight parts, in the order of docs/model.md.
template <class Vec>
HWY_INLINE Vec SumOfParts(Vec (&parts)[kSums]) {
  for (int64_t half = kSums / 2; half > 0; half /= 2) {
    for (int64_t sum = 0; sum < half; ++sum) parts[sum] = parts[sum] + parts[half + sum];
  }
  return parts[0];
}

/// Ways to round a block to 4 bits: scales from above extreme / -8, which leave some of the range
/// unused, to those below, which cut the extreme off and are finer for the others.
constexpr int64_t kWays = 17;
constexpr int64_t kMiddleWay = kWays / 2;  // extreme / -8
constexpr int64_t kWholeWays = kWays - 1;  // these fill vectors

/// extreme / scale of a way.
constexpr float ReachOf(int64_t way) {
  return kInt4Range.least - 0.125F * static_cast<float>(way - kMiddleWay);
}

struct alignas(64) Reaches {
  float at[kWholeWays];
  constexpr Reaches() : at() {
    for (int64_t way = 0; way < kWholeWays; ++way) at[way] = ReachOf(way);
  }
};
constexpr Reaches kReaches;

/// For each way the sum of the squares of the multiples of the scale that numbers are rounded to;
/// with the sum of their products with the numbers, how much of the numbers' squares it explains,
/// the numerator first; and the scale that fits it best.
struct alignas(64) WaysToRound {
  float squares[kWays];
  alignas(64) float numerators[kWays];
  alignas(64) float explained[kWays];
  alignas(64) float scales[kWays];
};

/// Sets those of as many ways from `first` on as there are lanes.
template <class Vec>
HWY_INLINE void SetWays(int64_t first, Vec products, Vec squares, WaysToRound& ways) {
  const hn::DFromV<Vec> d;
  hn::Store(squares, d, ways.squares + first);
  hn::Store(products * products, d, ways.numerators + first);
  hn::Store(products * products / squares, d, ways.explained + first);
  hn::Store(products / squares, d, ways.scales + first);
}

/// A lane for each way.
HWY_INLINE void SumWholeWays(const Numbers& numbers, float extreme, WaysToRound& ways) {
  const FloatTag d;
  const FloatVec least = hn::Set(d, kInt4Range.least);
  const FloatVec most = hn::Set(d, kInt4Range.most);
  for (int64_t first = 0; first < kWholeWays; first += kLanes) {
    const FloatVec inverses = hn::Load(d, kReaches.at + first) / hn::Set(d, extreme);
    FloatVec products[kSums];
    FloatVec squares[kSums];
    for (int64_t sum = 0; sum < kSums; ++sum) {
      FloatVec product = hn::Zero(d);
      FloatVec square = hn::Zero(d);
      for (int64_t i = sum; i < kWeightBlock; i += kSums) {
        const FloatVec x = hn::Set(d, numbers.at[i]);
        const FloatVec multiples = RoundToInteger(hn::Min(most, hn::Max(least, x * inverses)));
        product = product + x * multiples;
        square = hn::MulAdd(multiples, multiples, square);  // exact: these are small integers
      }
      products[sum] = product;
      squares[sum] = square;
    }
    SetWays(first, SumOfParts(products), SumOfParts(squares), ways);
  }
}

/// The way that is left over: a lane for each eighth number.
HWY_INLINE void SumLastWay(const Numbers& numbers, float extreme, WaysToRound& ways) {
  const EighthTag d;
  const EighthVec inverse = hn::Set(d, ReachOf(kWholeWays) / extreme);
  const EighthVec least = hn::Set(d, kInt4Range.least);
  const EighthVec most = hn::Set(d, kInt4Range.most);
  alignas(64) float products[kSums];
  EighthVec square = hn::Zero(d);
  for (int64_t first = 0; first < kSums; first += kEighthLanes) {
    EighthVec product = hn::Zero(d);
    for (int64_t i = first; i < kWeightBlock; i += kSums) {
      const EighthVec x = hn::Load(d, numbers.at + i);
      const EighthVec multiples = RoundToInteger(hn::Min(most, hn::Max(least, x * inverse)));
      product = product + x * multiples;
      square = hn::MulAdd(multiples, multiples, square);
    }
    hn::Store(product, d, products + first);
  }
  const hn::CappedTag<float, 1> one;
  SetWays(kWholeWays, hn::Set(one, SumOfParts(products)),
          hn::Set(one, hn::GetLane(hn::SumOfLanes(d, square))), ways);
}

/// The scale with which multiples of it in kInt4Range come nearest to the numbers, in the least
/// squares: of several ways to round them, that which explains most of their squares, with the
/// scale that fits it best.
HWY_INLINE float BestScale(const WaysToRound& ways) {
  // Vectors of one lane, because nobody could foresee where branches would go.
  const hn::CappedTag<float, 1> d;
  auto best = hn::Zero(d);
  auto scale = hn::Zero(d);
  for (int64_t way = 0; way < kWays; ++way) {
    const auto is_better = hn::Set(d, ways.numerators[way]) > best * hn::Set(d, ways.squares[way]);
    best = hn::IfThenElse(is_better, hn::Set(d, ways.explained[way]), best);
    scale = hn::IfThenElse(is_better, hn::Set(d, ways.scales[way]), scale);
  }
  return hn::GetLane(scale);
}

/// scale * code + minimum.
struct Line {
  float scale = 0;
  float minimum = 0;
};

/// Numbers of steps between the least and the largest number of a block with a minimum. Numbers
/// that were 4 bits with a minimum before are met by one of them.
constexpr int64_t kStepKinds = 8;
struct alignas(64) StepKinds {
  float at[kStepKinds] = {8, 9, 10, 11, 12, 13, 14, 15};
};
constexpr StepKinds kSteps;

/// The lines of least squares through numbers over codes, and their squared errors, for each number
/// of steps; `above` are the numbers less their least, so that nothing is lost in the sums.
struct alignas(64) FittedLines {
  float scales[kStepKinds];
  float starts[kStepKinds];  // above the least number
  float errors[kStepKinds];
};

HWY_INLINE void FitLines(const Numbers& above, float range, float sum, FittedLines& lines) {
  const EighthTag d;
  const EighthVec count = hn::Set(d, static_cast<float>(kWeightBlock));
  const EighthVec total = hn::Set(d, sum);
  for (int64_t first = 0; first < kStepKinds; first += kEighthLanes) {
    const EighthVec inverse = hn::Load(d, kSteps.at + first) / hn::Set(d, range);
    EighthVec codes[kWeightBlock];
    EighthVec parts[kSums];
    EighthVec codes_sum = hn::Zero(d);
    EighthVec squares = hn::Zero(d);  // exact, as the sum of codes is
    for (int64_t i = 0; i < kWeightBlock; ++i) {
      const EighthVec x = hn::Set(d, above.at[i]);
      codes[i] = RoundToInteger(x * inverse);
      codes_sum = codes_sum + codes[i];
      squares = hn::MulAdd(codes[i], codes[i], squares);
      EighthVec& part = parts[i % kSums];
      part = i < kSums ? x * codes[i] : part + x * codes[i];
    }
    const EighthVec products = SumOfParts(parts);
    const EighthVec scale =
        (count * products - total * codes_sum) / (count * squares - codes_sum * codes_sum);
    const EighthVec start = (total - scale * codes_sum) / count;
    for (int64_t i = 0; i < kWeightBlock; ++i) {
      const EighthVec off = hn::Set(d, above.at[i]) - (scale * codes[i] + start);
      EighthVec& part = parts[i % kSums];
      part = i < kSums ? off * off : part + off * off;
    }
    hn::Store(scale, d, lines.scales + first);
    hn::Store(start, d, lines.starts + first);
    hn::Store(SumOfParts(parts), d, lines.errors + first);
  }
}

/// Of the lines of several numbers of steps, that with the least squared error.
HWY_INLINE Line BestLine(const Numbers& numbers, const Extent& extent) {
  constexpr float kLeastRange = 0x1p-24F;  // of float16
  const float low = extent.least + 0.0F;   // no zero has a sign
  const float range = extent.most - low;
  Line line = {0, low};
  if (range < kLeastRange) return line;
  Numbers above;
  float parts[kSums];
  for (int64_t i = 0; i < kWeightBlock; ++i) {
    above.at[i] = numbers.at[i] - low;
    float& part = parts[i % kSums];
    part = i < kSums ? above.at[i] : part + above.at[i];
  }
  FittedLines lines;
  FitLines(above, range, SumOfParts(parts), lines);
  float least_error = std::numeric_limits<float>::infinity();
  for (int64_t kind = 0; kind < kStepKinds; ++kind) {
    if (!(lines.errors[kind] < least_error)) continue;
    least_error = lines.errors[kind];
    line = {lines.scales[kind], low + lines.starts[kind]};
  }
  return line;
}

/// Blocks that are rounded together, step by step: the steps of one block wait for each other,
/// those of several do not.
struct Group {
  static constexpr int64_t kBlocks = 8;
  int64_t blocks = 0;
  Numbers numbers[kBlocks];
  Extent extents[kBlocks];
  WaysToRound ways[kBlocks];
};

/// Scales and minima.
void SetLines(BlockKind kind, Group& group, WeightBlock* blocks) {
  const bool is_int8 = kind.format == WeightFormat::kInt8;
  if (!is_int8 && !kind.has_minima) {
    for (int64_t b = 0; b < group.blocks; ++b) {
      const float extreme = Extreme(group.numbers[b], group.extents[b]);
      SumWholeWays(group.numbers[b], extreme, group.ways[b]);
      SumLastWay(group.numbers[b], extreme, group.ways[b]);
    }
  }
  for (int64_t b = 0; b < group.blocks; ++b) {
    Line line;
    if (kind.has_minima) {
      line = BestLine(group.numbers[b], group.extents[b]);
    } else {
      line.scale = is_int8 ? std::bit_cast<float>(group.extents[b].magnitude) / kInt8Range.most
                           : BestScale(group.ways[b]);
    }
    blocks[b].scale = AsHalf(line.scale);
    blocks[b].minimum = AsHalf(line.minimum);
  }
}

template <typename T>
int64_t RoundRowOf(const HostMatrix& weight, int64_t row, BlockKind kind, int32_t most_bits,
                   WeightBlock* blocks) {
  const std::byte* from = weight.data + row * weight.cols * static_cast<int64_t>(sizeof(T));
  const CodeRange range = RangeOf(kind);
  const int64_t all = BlocksOfRow(weight.cols);
  Group group;
  for (int64_t first = 0; first < all; first += group.blocks) {
    group.blocks = std::min(Group::kBlocks, all - first);
    for (int64_t b = 0; b < group.blocks; ++b) {
      const int64_t number = (first + b) * kWeightBlock;
      LoadBlock<T>(from + number * static_cast<int64_t>(sizeof(T)), weight.cols - number,
                   group.numbers[b]);
      group.extents[b] = ExtentOf(group.numbers[b]);
      if (group.extents[b].magnitude > most_bits) return first + b;
    }
    SetLines(kind, group, blocks + first);
    for (int64_t b = 0; b < group.blocks; ++b) {
      blocks[first + b].format = kind.format;
      blocks[first + b].has_minimum = kind.has_minima;
      SetCodes(group.numbers[b], range, blocks[first + b]);
    }
  }
  return -1;
}

int64_t RoundRow(const HostMatrix& weight, int64_t row, BlockKind kind, float most,
                 WeightBlock* blocks) {
  const auto most_bits = std::bit_cast<int32_t>(most);
  switch (weight.format) {
    case WeightFormat::kF32:
      return RoundRowOf<float>(weight, row, kind, most_bits, blocks);
    case WeightFormat::kF16:
      return RoundRowOf<Float16>(weight, row, kind, most_bits, blocks);
    case WeightFormat::kBF16:
      return RoundRowOf<BFloat16>(weight, row, kind, most_bits, blocks);
    case WeightFormat::kInt8:
    case WeightFormat::kInt4:
      break;  // not plain
  }
  return -1;
}

}  // namespace fmaserver::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fmaserver::kernels {
namespace {

HWY_EXPORT(RoundRow);

}  // namespace

float LargestFor(BlockKind kind) {
  constexpr float kMostOfFloat16 = 65504.0F;
  if (kind.has_minima) return kMostOfFloat16;
  return kMostOfFloat16 * (kind.format == WeightFormat::kInt8 ? 127.0F : 7.0F);
}

int64_t RoundPlainRow(const HostMatrix& weight, int64_t row, BlockKind kind, WeightBlock* blocks) {
  return HWY_DYNAMIC_DISPATCH(RoundRow)(weight, row, kind, LargestFor(kind), blocks);
}

}  // namespace fmaserver::kernels
#endif  // HWY_ONCE
