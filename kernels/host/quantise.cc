#include "kernels/host/quantise.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "kernels/host/block_rounding.h"
#include "kernels/host/host_element.h"

namespace fmaserver::kernels {
namespace {

/// The refusal of a block of a plain weight, which names the number that is farthest from 0.
absl::Status RefuseBlock(const HostMatrix& weight, int64_t row, int64_t block, BlockKind kind) {
  // Without signs, numbers as integers are in the same order, and what is not finite comes last.
  int32_t farthest = 0;
  float number = 0;
  const int64_t end = std::min((block + 1) * kWeightBlock, weight.cols);
  for (int64_t i = block * kWeightBlock; i < end; ++i) {
    const float x = ElementAsFloat(weight, row * weight.cols + i);
    const int32_t magnitude = std::bit_cast<int32_t>(x) & 0x7FFFFFFF;
    if (magnitude <= farthest) continue;
    farthest = magnitude;
    number = x;
  }
  const bool is_int8 = kind.format == WeightFormat::kInt8;
  return absl::InvalidArgumentError(
      absl::StrCat("a weight is ", std::isfinite(number) ? absl::StrCat(number) : "infinite or NaN",
                   "; allowed: numbers up to ", LargestFor(kind), is_int8 ? " in int8" : " in int4",
                   kind.has_minima ? " with minima" : ""));
}

}  // namespace

float WeightBlock::At(int64_t i) const {
  const float unit = ToFloat(scale);
  if (format == WeightFormat::kInt8) return unit * static_cast<float>(codes[i]);
  if (has_minimum) return unit * static_cast<float>(codes[i]) + ToFloat(minimum);
  return unit * static_cast<float>(codes[i] - kInt4Offset);
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

absl::Status BlocksOf(const HostMatrix& weight, int64_t row, BlockKind kind,
                      std::span<WeightBlock> blocks) {
  if (InBlocks(weight.format)) {
    for (size_t b = 0; b < blocks.size(); ++b) {
      blocks[b] = BlockOf(weight, row, static_cast<int64_t>(b));
    }
    return absl::OkStatus();
  }
  const int64_t refused = RoundPlainRow(weight, row, kind, blocks.data());
  return refused < 0 ? absl::OkStatus() : RefuseBlock(weight, row, refused, kind);
}

absl::StatusOr<WeightBlock> Quantise(std::span<const float> numbers, BlockKind kind) {
  const HostMatrix row{.data = reinterpret_cast<const std::byte*>(numbers.data()),
                       .format = WeightFormat::kF32,
                       .rows = 1,
                       .cols = std::ssize(numbers)};
  WeightBlock block;
  if (absl::Status status = BlocksOf(row, 0, kind, {&block, 1}); !status.ok()) return status;
  return block;
}

}  // namespace fmaserver::kernels
