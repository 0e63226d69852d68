#include "kernels/host/quantise.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/host/host_element.h"
#include "kernels/host/quantise_numbers.h"

namespace fmaserver::kernels {
namespace {

constexpr int kInt4Offset = 8;

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

/// The number that is farthest from zero.
float Extreme(const BlockNumbers& numbers) {
  float extreme = 0;
  for (const float x : numbers) {
    if (std::abs(x) > std::abs(extreme)) extreme = x;
  }
  return extreme;
}

// Finding the scale is most of the work of loading a model, so it is written out in vectors, which
// every compiler makes instructions of; of loops it makes them or does not.
using Four = float __attribute__((vector_size(4 * sizeof(float))));
using Fours = std::array<Four, kWeightBlock / 4>;

/// Multiples() for kInt4Range.
inline Four Int4Multiples(Four numbers, float inverse) {
  constexpr float kShift = 0x1.8p23F;  // as in RoundToInteger()
  constexpr Four kLeast = {kInt4Range.least, kInt4Range.least, kInt4Range.least, kInt4Range.least};
  constexpr Four kMost = {kInt4Range.most, kInt4Range.most, kInt4Range.most, kInt4Range.most};
  Four multiples = numbers * inverse;
  multiples = multiples < kLeast ? kLeast : multiples;
  multiples = multiples > kMost ? kMost : multiples;
  return (multiples + kShift) - kShift;
}

/// SumOverBlock() of numbers in eight sums, of which these are the first and the last four.
inline float SumOfEight(Four first, Four last) {
  const Four sums = first + last;
  return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

/// The scale with which multiples of it in kInt4Range come nearest to the numbers, in the least
/// squares: of several ways to round them, that which explains most of their squares, with the
/// scale that fits it best.
float Int4Scale(const BlockNumbers& block, float extreme) {
  // A scale below extreme / -8 cuts the extreme off and is finer for the others; one above leaves
  // the range unused.
  constexpr int kTries = 8;
  constexpr float kStep = 0.125F;
  Fours numbers;
  std::memcpy(numbers.data(), block.data(), sizeof(block));
  float best = 0;
  float scale = 0;
  for (int i = -kTries; i <= kTries; ++i) {
    const float inverse = (kInt4Range.least - kStep * static_cast<float>(i)) / extreme;
    Four products[2] = {};
    Four squares[2] = {};
    for (size_t j = 0; j < numbers.size(); ++j) {
      const Four multiples = Int4Multiples(numbers[j], inverse);
      products[j % 2] += numbers[j] * multiples;
      squares[j % 2] += multiples * multiples;
    }
    const float product = SumOfEight(products[0], products[1]);
    const float square = SumOfEight(squares[0], squares[1]);
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
  const float extreme = Extreme(all);
  const bool finite = std::ranges::all_of(all, [](float x) { return std::isfinite(x); });
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
