// Elements of weights and of products' inputs inside kernels: float, Float16, BFloat16.
#pragma once

#include "kernels/cuda/runtime/device.h"
#include "kernels/fma/element.h"

#ifdef __CUDACC__
#include <cuda_fp16.h>
#endif

namespace fmaserver::kernels::cuda {

/// How many elements of T one 16-byte load brings.
template <typename T>
inline constexpr int kVector = 16 / static_cast<int>(sizeof(T));

template <typename T>
using Vector = Vec<T, kVector<T>>;

FMA_DEVICE float AsFloat(float value) { return value; }
FMA_DEVICE float AsFloat(BFloat16 value) { return ToFloat(value); }
FMA_DEVICE float AsFloat(Float16 value) {
#ifdef __CUDACC__
  return __half2float(__ushort_as_half(value.bits));  // one instruction, ToFloat() is many
#else
  return ToFloat(value);
#endif
}

}  // namespace fmaserver::kernels::cuda
