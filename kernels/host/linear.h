// Products of the same input, stacked along their outputs, as both backends read them from host
// memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace fmaserver::kernels {

struct StackedShape {
  int64_t out = 0;  ///< of all parts together
  int64_t in = 0;
  WeightFormat format = WeightFormat::kF32;  ///< that all parts share; F32 when they differ
};

/// INVALID_ARGUMENT when the parts do not share their input, a bias does not have one number for
/// each output, or the scales and minima of a weight are not those of its format.
absl::StatusOr<StackedShape> ShapeOf(std::span<const HostLinear> stacked);

/// A row of one of the parts.
struct StackedRow {
  const HostMatrix* weight = nullptr;
  int64_t row = 0;
};

/// The rows of all parts, in order: one for each output.
std::vector<StackedRow> RowsOf(std::span<const HostLinear> stacked);

/// The biases of all parts, with zeros for parts without one; empty when no part has one.
std::vector<float> StackedBias(std::span<const HostLinear> stacked);

}  // namespace fmaserver::kernels
