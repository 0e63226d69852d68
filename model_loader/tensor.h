// A tensor inside a memory-mapped file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/fma/weight_format.h"

namespace fmaserver::model {

/// A view, valid as long as the Safetensors (and the Checkpoint) that it came from. `data` may be
/// unaligned; row-major, little-endian. An element of kInt4 is a byte of two numbers.
struct TensorView {
  kernels::WeightFormat dtype = kernels::WeightFormat::kF32;
  std::vector<int64_t> shape;
  const std::byte* data = nullptr;

  int64_t NumElements() const {
    int64_t n = 1;
    for (int64_t extent : shape) n *= extent;
    return n;
  }
};

}  // namespace fmaserver::model
