#include "kernels/host/quantise.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/host/host_element.h"
#include "kernels/host/quantise_numbers.h"

namespace fmaserver::kernels {
namespace {

/// What a code stands for, in units of the scale, is code + offset, least..most.
struct CodeRange {
  float least;
  float most;
};
constexpr CodeRange kInt8Range = {-127, 127};
constexpr CodeRange kInt4Range = {-kInt4Offset, 15 - kInt4Offset};

/// numbers * inverse, rounded and cut to the range.
void Multiples(const BlockNumbers& numbers, float inverse, CodeRange range,
               BlockNumbers& multiples) {
  for (int64_t i = 0; i < kWeightBlock; ++i) {
    multiples[i] = RoundToInteger(std::clamp(numbers[i] * inverse, range.least, range.most));
  }
}

/// Without its sign; as integers, magnitudes are in the same order, and what is not finite is
/// behind all others.
inline int32_t MagnitudeBits(float x) { return std::bit_cast<int32_t>(x) & 0x7FFFFFFF; }
constexpr int32_t kInfinityBits = 0x7F800000;

int32_t LargestBits(const BlockNumbers& numbers) {
  int32_t largest = 0;
  for (const float x : numbers) {
    const int32_t magnitude = MagnitudeBits(x);
    largest = largest < magnitude ? magnitude : largest;
  }
  return largest;
}

/// Ways to round a block to 4 bits: scales from above extreme / -8, which leave some of the range
/// unused, to those below, which cut the extreme off and are finer for the others.
constexpr int kWays = 17;
constexpr int kMiddleWay = kWays / 2;  // extreme / -8
constexpr int kMostLanes = 8;

/// For each way 1 / scale, and for the multiples that it gives the sums of their products with the
/// numbers and of their squares.
struct alignas(32) WaysToRound {
  static constexpr int kPadded = (kWays + kMostLanes - 1) / kMostLanes * kMostLanes;
  float inverses[kPadded] = {};
  float products[kPadded];
  float squares[kPadded];
};

/// Sets the sums, each as SumOverBlock() takes it, in vectors of kLanes ways. This is most of the
/// work of loading a model, so it is written so that every compiler makes vector instructions of
/// it.
template <int kLanes>
[[gnu::always_inline]] inline void SumWays(const BlockNumbers& numbers, WaysToRound& ways) {
  // GCC forgets the attribute of a dependent type that `using` names.
  typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));  // NOLINT
  constexpr float kShift = 0x1.8p23F;  // as in RoundToInteger()
  constexpr int kSums = 8;
  const Lanes least = Lanes{} + kInt4Range.least;
  const Lanes most = Lanes{} + kInt4Range.most;
  for (int first = 0; first < kWays; first += kLanes) {
    Lanes inverses;
    std::memcpy(&inverses, ways.inverses + first, sizeof(inverses));
    Lanes products[kSums];
    Lanes squares[kSums];
    for (int sum = 0; sum < kSums; ++sum) {
      for (int i = sum; i < kWeightBlock; i += kSums) {
        Lanes multiples = numbers[i] * inverses;
        multiples = least > multiples ? least : multiples;
        multiples = most < multiples ? most : multiples;
        multiples = (multiples + kShift) - kShift;
        const Lanes product = numbers[i] * multiples;
        const Lanes square = multiples * multiples;
        products[sum] = i == sum ? product : products[sum] + product;
        squares[sum] = i == sum ? square : squares[sum] + square;
      }
    }
    for (int half = kSums / 2; half > 0; half /= 2) {
      for (int sum = 0; sum < half; ++sum) {
        products[sum] += products[half + sum];
        squares[sum] += squares[half + sum];
      }
    }
    std::memcpy(ways.products + first, products, sizeof(Lanes));
    std::memcpy(ways.squares + first, squares, sizeof(Lanes));
  }
}

#ifdef __x86_64__
__attribute__((target("avx2"))) void SumWaysAvx2(const BlockNumbers& numbers, WaysToRound& ways) {
  SumWays<kMostLanes>(numbers, ways);
}
#endif

void SumAllWays(const BlockNumbers& numbers, WaysToRound& ways) {
#ifdef __x86_64__
  static const bool has_avx2 = __builtin_cpu_supports("avx2") > 0;
  if (has_avx2) return SumWaysAvx2(numbers, ways);
#endif
  SumWays<4>(numbers, ways);
}

/// The scale with which multiples of it in kInt4Range come nearest to the numbers, in the least
/// squares: of several ways to round them, that which explains most of their squares, with the
/// scale that fits it best.
float Int4Scale(const BlockNumbers& numbers, float extreme) {
  constexpr float kStep = 0.125F;
  WaysToRound ways;
  for (int way = 0; way < kWays; ++way) {
    const auto steps = static_cast<float>(way - kMiddleWay);
    ways.inverses[way] = (kInt4Range.least - kStep * steps) / extreme;
  }
  SumAllWays(numbers, ways);
  float best = 0;
  float scale = 0;
  for (int way = 0; way < kWays; ++way) {
    const float product = ways.products[way];
    const float square = ways.squares[way];
    if (square > 0 && product * product > best * square) {
      best = product * product / square;
      scale = product / square;
    }
  }
  return scale;
}

}  // namespace

float WeightBlock::At(int64_t i) const {
  const float unit = ToFloat(scale);
  if (format == WeightFormat::kInt8) return unit * static_cast<float>(codes[i]);
  if (has_minimum) return unit * static_cast<float>(codes[i]) + ToFloat(minimum);
  return unit * static_cast<float>(codes[i] - kInt4Offset);
}

absl::StatusOr<WeightBlock> Quantise(std::span<const float> numbers, WeightFormat format) {
  const BlockNumbers all = WholeBlock(numbers);
  const bool is_int8 = format == WeightFormat::kInt8;
  const CodeRange range = is_int8 ? kInt8Range : kInt4Range;
  const int32_t largest = LargestBits(all);
  const bool finite = largest < kInfinityBits;
  // The first of those that are farthest from zero.
  const float extreme = *std::ranges::find(all, largest, MagnitudeBits);
  if (!finite || std::abs(extreme) > kMostOfFloat16 * range.most) {
    return absl::InvalidArgumentError(
        absl::StrCat("a weight is ", finite ? absl::StrCat(extreme) : "infinite or NaN",
                     "; allowed: numbers up to ", kMostOfFloat16 * range.most,
                     is_int8 ? " in int8" : " in int4"));
  }
  WeightBlock block{.format = format};
  if (extreme != 0) {
    const float scale = is_int8 ? std::abs(extreme) / range.most : Int4Scale(all, extreme);
    block.scale = FromFloat<Float16>(std::clamp(scale, -kMostOfFloat16, kMostOfFloat16));
  }
  const float unit = ToFloat(block.scale);
  BlockNumbers multiples = {};
  if (unit != 0) Multiples(all, 1.0F / unit, range, multiples);
  for (int64_t i = 0; i < kWeightBlock; ++i) {
    block.codes[i] = static_cast<int8_t>(multiples[i] + (is_int8 ? 0 : kInt4Offset));
  }
  return block;
}

WeightBlock BlockOf(const HostMatrix& weight, int64_t row, int64_t block) {
  const int64_t index = row * (weight.cols / kWeightBlock) + block;
  WeightBlock result{.format = weight.format, .has_minimum = weight.minima != nullptr};
  result.scale = LoadUnaligned<Float16>(weight.scales->data, index);
  if (result.has_minimum) result.minimum = LoadUnaligned<Float16>(weight.minima->data, index);
  const int64_t bytes = RowBytes(weight.format, kWeightBlock);
  const std::byte* codes = weight.data + index * bytes;
  if (weight.format == WeightFormat::kInt8) {
    std::memcpy(result.codes.data(), codes, static_cast<size_t>(bytes));
    return result;
  }
  for (int64_t i = 0; i < bytes; ++i) {
    result.codes[i] = std::to_integer<int8_t>(codes[i] & std::byte{0xF});
    result.codes[bytes + i] = std::to_integer<int8_t>(codes[i] >> 4);
  }
  return result;
}

}  // namespace fmaserver::kernels
