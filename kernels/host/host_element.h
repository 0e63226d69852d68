// Elements of weights in host memory, which need not be aligned, as float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/backend.h"
#include "kernels/fma/element.h"
#include "kernels/fma/weight_format.h"
#include "kernels/host/quantise.h"

namespace fmaserver::kernels {

template <typename T>
T LoadUnaligned(const std::byte* data, int64_t index) {
  T value;
  std::memcpy(&value, data + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

/// Element `index` (row-major) of a weight.
inline float ElementAsFloat(const HostMatrix& matrix, int64_t index) {
  switch (matrix.format) {
    case WeightFormat::kF32:
      return LoadUnaligned<float>(matrix.data, index);
    case WeightFormat::kF16:
      return ToFloat(LoadUnaligned<Float16>(matrix.data, index));
    case WeightFormat::kBF16:
      return ToFloat(LoadUnaligned<BFloat16>(matrix.data, index));
    case WeightFormat::kInt8:
    case WeightFormat::kInt4: {
      const int64_t column = index % matrix.cols;
      return BlockOf(matrix, index / matrix.cols, column / kWeightBlock).At(column % kWeightBlock);
    }
  }
  return 0;
}

}  // namespace fmaserver::kernels
