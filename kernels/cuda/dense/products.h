// Products of many rows, where a tensor-core library is hard to beat: cuBLASLt on a GPU, plain
// loops in the emulator (tests/kernels/plain_products.cc). Products of few rows have their own
// kernel (linear_kernel.h).
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/runtime/runtime.h"
#include "kernels/fma/weight_format.h"

namespace fmaserver::kernels::cuda {

/// y = x W^T + b, or with `accumulate` y += x W^T + b; float32 sums. All in device memory.
struct Product {
  const void* weight = nullptr;  ///< [out, in] of `format`, rows `pitch` elements apart
  const void* x = nullptr;       ///< [rows, in] of `format`, rows `x_pitch` elements apart
  const float* bias = nullptr;   ///< [out]; null: none
  float* y = nullptr;            ///< [rows, out]
  WeightFormat format = WeightFormat::kF32;  ///< kF32 computes in float32, never in TF32
  int64_t rows = 0;
  int64_t in = 0;
  int64_t out = 0;
  int64_t pitch = 0;
  int64_t x_pitch = 0;
  bool accumulate = false;
};

class Products {
 public:
  virtual ~Products() = default;

  /// Enqueues; may be captured into a graph. UNIMPLEMENTED, with nothing enqueued, when there is no
  /// way to compute this shape.
  virtual absl::Status Multiply(Stream& stream, const Product& product) = 0;
};

/// For the current device, which must be the same at every later call.
absl::StatusOr<std::unique_ptr<Products>> MakeProducts();

}  // namespace fmaserver::kernels::cuda
