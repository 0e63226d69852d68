// Which integers the numbers of a plain weight are rounded to. The rules are those of
// docs/model.md, "Weights in blocks".
#pragma once

#include <optional>

#include "kernels/backend.h"
#include "kernels/fma/weight_format.h"
#include "kernels/host/quantise.h"

namespace fmaserver::kernels {

/// What a plain weight is rounded to when integers of `format` are wanted. kInt4 has minima when a
/// sample of the weight's blocks then has less than half of the squared error, which is so when its
/// numbers were integers of 4 bits with minima before.
BlockKind KindFor(const HostMatrix& weight, WeightFormat format);

/// What a weight is packed as: integers in blocks stay what they are, others become
/// KindFor(weight, format), for which `format` must be there.
BlockKind KindOf(const HostMatrix& weight, std::optional<WeightFormat> format);

}  // namespace fmaserver::kernels
