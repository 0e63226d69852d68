// Weights as integers in blocks of kWeightBlock (kernels/fma/weight_format.h), and back. The rules
// are those of docs/model.md, "Weights in blocks".
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/fma/element.h"
#include "kernels/fma/weight_format.h"

namespace fmaserver::kernels {

/// What a code of kInt4 without a minimum is above what it stands for.
inline constexpr int kInt4Offset = 8;

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

/// The integers nearest to `numbers`, at most kWeightBlock; missing ones count as 0. kInt4 has no
/// minimum then. INVALID_ARGUMENT for a number that is not finite or too large for a float16 scale.
absl::StatusOr<WeightBlock> Quantise(std::span<const float> numbers, WeightFormat format);

/// Block `block` of row `row` of a weight of integers in blocks.
WeightBlock BlockOf(const HostMatrix& weight, int64_t row, int64_t block);

}  // namespace fmaserver::kernels
