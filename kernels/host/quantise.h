// Weights as integers in blocks of kWeightBlock (kernels/fma/weight_format.h), and back. The rules
// are those of docs/model.md, "Weights in blocks".
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/fma/element.h"
#include "kernels/fma/weight_format.h"

namespace fmaserver::kernels {

/// What a code of kInt4 without a minimum is above what it stands for.
inline constexpr int kInt4Offset = 8;

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

/// One block: kInt8 codes are -128..127, kInt4 codes 0..15.
struct WeightBlock {
  WeightFormat format = WeightFormat::kInt8;
  bool has_minimum = false;  ///< kInt4 only
  Float16 scale = {0};
  Float16 minimum = {0};
  std::array<int8_t, kWeightBlock> codes = {};

  /// The number at `i` as float32.
  float At(int64_t i) const;
};

/// Block `block` of row `row` of a weight of integers in blocks.
WeightBlock BlockOf(const HostMatrix& weight, int64_t row, int64_t block);

/// Row `row` of a weight as `blocks`, BlocksOfRow(weight.cols) of them: as they are stored, or of a
/// plain weight the integers of `kind` nearest to its numbers, where those missing in the last
/// block count as 0. INVALID_ARGUMENT for a number that is not finite or too large for float16
/// scales and minima.
absl::Status BlocksOf(const HostMatrix& weight, int64_t row, BlockKind kind,
                      std::span<WeightBlock> blocks);

/// The same for `numbers` alone, at most kWeightBlock.
absl::StatusOr<WeightBlock> Quantise(std::span<const float> numbers, BlockKind kind);

}  // namespace fmaserver::kernels
