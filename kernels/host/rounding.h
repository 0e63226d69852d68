// Which integers the numbers of a plain weight are rounded to, and how many bytes they then take.
// The rules are those of docs/model.md, "Weights in blocks".
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/fma/weight_format.h"
#include "kernels/host/quantise.h"

namespace fmaserver::kernels {

/// Integers in blocks of `format`; with minima only those of kInt4.
struct BlockKind {
  WeightFormat format = WeightFormat::kInt8;
  bool has_minima = false;

  bool operator==(const BlockKind&) const = default;
};

/// Blocks of a row of so many numbers, of which the last may be cut short.
constexpr int64_t BlocksOfRow(int64_t numbers) {
  return (numbers + kWeightBlock - 1) / kWeightBlock;
}

/// Bytes of a row's whole blocks, with scales and minima.
constexpr int64_t RowBytes(BlockKind kind, int64_t numbers) {
  const int64_t halves = kind.has_minima ? 2 : 1;
  return BlocksOfRow(numbers) *
         (RowBytes(kind.format, kWeightBlock) + halves * SizeOf(WeightFormat::kF16));
}

/// What a plain weight is rounded to when integers of `format` are wanted. kInt4 has minima when a
/// sample of the weight's blocks then has less than half of the squared error, which is so when its
/// numbers were integers of 4 bits with minima before.
BlockKind KindFor(const HostMatrix& weight, WeightFormat format);

/// What a weight is packed as: integers in blocks stay what they are, others become
/// KindFor(weight, format), for which `format` must be there.
BlockKind KindOf(const HostMatrix& weight, std::optional<WeightFormat> format);

/// The integers nearest to `numbers`, at most kWeightBlock; missing ones count as 0.
/// INVALID_ARGUMENT for a number that is not finite or too large for float16 scales and minima.
absl::StatusOr<WeightBlock> Quantise(std::span<const float> numbers, BlockKind kind);

/// Block `block` of row `row` of a weight: as it is stored, or of a plain weight rounded to `kind`.
absl::StatusOr<WeightBlock> RoundedBlock(const HostMatrix& weight, int64_t row, int64_t block,
                                         BlockKind kind);

}  // namespace fmaserver::kernels
