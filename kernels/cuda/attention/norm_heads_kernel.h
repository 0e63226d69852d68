// RMS norms of the query heads and key heads of a fused product, in place: a warp takes a head of a
// row, so its sum has one order whatever the step's rows are.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// Grid: Blocks(). The formula is that of dense/norm_kernel.h.
struct NormHeadsKernel {
  static constexpr int kThreads = 256;
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr const char* kName = "norm_heads";

  float* x = nullptr;                   // [rows, cols]; its first columns are the heads
  const float* query_weight = nullptr;  // [dim]
  const float* key_weight = nullptr;    // [dim]
  int64_t rows = 0;
  int64_t cols = 0;
  int32_t query_heads = 0;
  int32_t heads = 0;  // of queries and keys
  int32_t dim = 0;
  float eps = 0;

  int64_t Blocks() const { return (rows * heads + kWarps - 1) / kWarps; }

  FMA_DEVICE void operator()() const {
    const int64_t item = BlockIndex() * kWarps + WarpIndex();
    if (item >= rows * heads) return;  // the whole warp
    const auto head = static_cast<int>(item % heads);
    float* channels = x + item / heads * cols + int64_t{head} * dim;
    const float* weight = head < query_heads ? query_weight : key_weight;
    float squares = 0;
    for (int c = LaneIndex(); c < dim; c += kWarpSize) {
      const float channel = Load(channels + c);
      squares += channel * channel;
    }
    const float scale = 1.0F / std::sqrt(WarpSum(squares) / static_cast<float>(dim) + eps);
    for (int c = LaneIndex(); c < dim; c += kWarpSize) {
      Store(channels + c, Load(channels + c) * scale * LoadConstant(weight + c));
    }
  }
};

}  // namespace fmaserver::kernels::cuda
