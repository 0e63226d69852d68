#include "kernels/host/rounding.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "kernels/host/host_element.h"

namespace fmaserver::kernels {
namespace {

using BlockNumbers = std::array<float, kWeightBlock>;

/// The numbers of a block of a plain weight, and zeros where its row ends before.
BlockNumbers NumbersOf(const HostMatrix& weight, int64_t row, int64_t block) {
  BlockNumbers numbers = {};
  const int64_t first = block * kWeightBlock;
  const int64_t count = std::min(kWeightBlock, weight.cols - first);
  for (int64_t i = 0; i < count; ++i) {
    numbers[i] = ElementAsFloat(weight, row * weight.cols + first + i);
  }
  return numbers;
}

/// In one fixed order: eight sums of every eighth, of which each four, two and one are added to the
/// others.
float SquaredError(const WeightBlock& block, const BlockNumbers& numbers) {
  constexpr int64_t kSums = 8;
  std::array<float, kSums> sums = {};
  for (int64_t i = 0; i < kWeightBlock; ++i) {
    const float off = numbers[i] - block.At(i);
    sums[i % kSums] += off * off;
  }
  for (int64_t half = kSums / 2; half > 0; half /= 2) {
    for (int64_t sum = 0; sum < half; ++sum) sums[sum] += sums[half + sum];
  }
  return sums[0];
}

/// Adds the squared error of a block, rounded to `kind`, to `error`; whether it can be rounded.
bool AddError(const BlockNumbers& numbers, BlockKind kind, double& error) {
  const absl::StatusOr<WeightBlock> block = Quantise(numbers, kind);
  if (block.ok()) error += double{SquaredError(*block, numbers)};
  return block.ok();
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

}  // namespace fmaserver::kernels
