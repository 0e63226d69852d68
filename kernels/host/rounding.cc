#include "kernels/host/rounding.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/host/host_element.h"
#include "kernels/host/quantise_numbers.h"

namespace fmaserver::kernels {
namespace {

constexpr int kMostCode = 15;

/// scale * code + minimum.
struct Line {
  float scale = 0;
  float minimum = 0;
};

/// The line of least squares through numbers over codes, and its squared error.
struct FittedLine {
  Line line;
  float error = 0;
};

/// `above`: numbers less `least`, their least, so that nothing is lost in the sums.
FittedLine FitLine(const BlockNumbers& above, const BlockNumbers& codes, float least) {
  constexpr float kCount = kWeightBlock;
  const float codes_sum = SumOverBlock([&](int64_t i) { return codes[i]; });
  const float squares = SumOverBlock([&](int64_t i) { return codes[i] * codes[i]; });
  const float sum = SumOverBlock([&](int64_t i) { return above[i]; });
  const float products = SumOverBlock([&](int64_t i) { return above[i] * codes[i]; });
  const float scale =
      (kCount * products - sum * codes_sum) / (kCount * squares - codes_sum * codes_sum);
  const float start = (sum - scale * codes_sum) / kCount;
  const auto off = [&](int64_t i) { return above[i] - (scale * codes[i] + start); };
  return {{scale, least + start}, SumOverBlock([&](int64_t i) { return off(i) * off(i); })};
}

/// The block whose numbers lie on `line`, once that is in float16.
WeightBlock BlockOn(const Line& line, const BlockNumbers& numbers) {
  WeightBlock block{.format = WeightFormat::kInt4, .has_minimum = true};
  const auto half = [](float x) {
    return FromFloat<Float16>(std::clamp(x, -kMostOfFloat16, kMostOfFloat16));
  };
  block.scale = half(line.scale);
  block.minimum = half(line.minimum);
  const float unit = ToFloat(block.scale);
  const float minimum = ToFloat(block.minimum);
  const float inverse = unit == 0 ? 0 : 1.0F / unit;
  for (int64_t i = 0; i < kWeightBlock; ++i) {
    const float code = std::clamp((numbers[i] - minimum) * inverse, 0.0F, float{kMostCode});
    block.codes[i] = static_cast<int8_t>(RoundToInteger(code));
  }
  return block;
}

/// Of several numbers of steps between the least and the largest number, that whose line has the
/// least squared error. Numbers that were 4 bits with a minimum before are met by one of them.
WeightBlock BestWithMinimum(const BlockNumbers& numbers) {
  constexpr int kFewestSteps = 8;
  constexpr float kLeastRange = 0x1p-24F;  // of float16
  const auto [least, most] = std::ranges::minmax(numbers);
  const float low = least + 0.0F;  // no zero has a sign
  const float range = most - low;
  FittedLine best = {{0, low}, std::numeric_limits<float>::infinity()};
  if (range < kLeastRange) return BlockOn(best.line, numbers);
  BlockNumbers above;
  BlockNumbers codes;
  for (int64_t i = 0; i < kWeightBlock; ++i) above[i] = numbers[i] - low;
  for (int steps = kFewestSteps; steps <= kMostCode; ++steps) {
    const float inverse = static_cast<float>(steps) / range;
    for (int64_t i = 0; i < kWeightBlock; ++i) codes[i] = RoundToInteger(above[i] * inverse);
    const FittedLine found = FitLine(above, codes, low);
    if (found.error < best.error) best = found;
  }
  return BlockOn(best.line, numbers);
}

absl::StatusOr<WeightBlock> QuantiseWithMinimum(const BlockNumbers& numbers) {
  for (const float x : numbers) {
    if (std::abs(x) <= kMostOfFloat16) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("a weight is ", std::isfinite(x) ? absl::StrCat(x) : "infinite or NaN",
                     "; allowed: numbers up to ", kMostOfFloat16, " in int4 with minima"));
  }
  return BestWithMinimum(numbers);
}

float SquaredError(const WeightBlock& block, const BlockNumbers& numbers) {
  return SumOverBlock([&](int64_t i) {
    const float off = numbers[i] - block.At(i);
    return off * off;
  });
}

/// Adds the squared error of a block, rounded to `kind`, to `error`; whether it can be rounded.
bool AddError(const BlockNumbers& numbers, BlockKind kind, double& error) {
  const absl::StatusOr<WeightBlock> block = Quantise(numbers, kind);
  if (block.ok()) error += double{SquaredError(*block, numbers)};
  return block.ok();
}

template <typename T>
void LoadNumbers(const HostMatrix& weight, int64_t first, std::span<float> numbers) {
  const std::byte* from = weight.data + first * static_cast<int64_t>(sizeof(T));
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = ToFloat(LoadUnaligned<T>(from, i));
}

/// The numbers of a block of a plain weight, and zeros where its row ends before.
BlockNumbers NumbersOf(const HostMatrix& weight, int64_t row, int64_t block) {
  BlockNumbers numbers = {};
  const int64_t first = block * kWeightBlock;
  const auto inside = std::span(numbers).first(std::min(kWeightBlock, weight.cols - first));
  switch (weight.format) {
    case WeightFormat::kF32:
      LoadNumbers<float>(weight, row * weight.cols + first, inside);
      break;
    case WeightFormat::kF16:
      LoadNumbers<Float16>(weight, row * weight.cols + first, inside);
      break;
    case WeightFormat::kBF16:
      LoadNumbers<BFloat16>(weight, row * weight.cols + first, inside);
      break;
    case WeightFormat::kInt8:
    case WeightFormat::kInt4:
      break;  // not plain
  }
  return numbers;
}

bool MinimaPay(const HostMatrix& weight) {
  // Enough to tell, and little beside the weight.
  constexpr int64_t kRows = 8;
  constexpr int64_t kBlocks = 32;  // of each row
  const int64_t rows = std::min(kRows, weight.rows);
  const int64_t blocks = std::min(kBlocks, BlocksOfRow(weight.cols));
  double plain = 0;
  double with_minima = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = r * weight.rows / rows;
    for (int64_t b = 0; b < blocks; ++b) {
      const BlockNumbers numbers = NumbersOf(weight, row, b);
      if (!AddError(numbers, {WeightFormat::kInt4, false}, plain)) return false;
      if (!AddError(numbers, {WeightFormat::kInt4, true}, with_minima)) return false;
    }
  }
  return with_minima < plain / 2;
}

}  // namespace

BlockKind KindFor(const HostMatrix& weight, WeightFormat format) {
  return {format, format == WeightFormat::kInt4 && MinimaPay(weight)};
}

BlockKind KindOf(const HostMatrix& weight, std::optional<WeightFormat> format) {
  if (InBlocks(weight.format)) return {weight.format, weight.minima != nullptr};
  return KindFor(weight, format.value());
}

absl::StatusOr<WeightBlock> RoundedBlock(const HostMatrix& weight, int64_t row, int64_t block,
                                         BlockKind kind) {
  if (InBlocks(weight.format)) return BlockOf(weight, row, block);
  return Quantise(NumbersOf(weight, row, block), kind);
}

absl::StatusOr<WeightBlock> Quantise(std::span<const float> numbers, BlockKind kind) {
  if (!kind.has_minima) return Quantise(numbers, kind.format);
  return QuantiseWithMinimum(WholeBlock(numbers));
}

}  // namespace fmaserver::kernels
