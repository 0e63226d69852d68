// Launcher of the products with weights that are integers in blocks; as those of dense.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "kernels/cuda/dense/dense.h"

namespace fmaserver::kernels::cuda {

/// A product of any number of rows; `rounded` is memory of TilesBytes() for its inputs.
absl::Status LaunchIntegerLinear(Stream& stream, const LinearOperation& operation,
                                 std::byte* rounded);

}  // namespace fmaserver::kernels::cuda
