// Normalisation of rows: one block per row, which reads the row once for each moment and once more
// to write the result.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/runtime/device.h"
#include "kernels/fma/spec.h"

namespace fmaserver::kernels::cuda {

/// Grid: rows. See Backend::Norm; the formulas are those of kernels/cpu/pointwise.h.
struct NormKernel {
  static constexpr int kThreads = 256;
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr const char* kName = "norm";
  static constexpr int64_t kSharedBytes = SharedBytes<float>(kWarps);

  const float* x = nullptr;       // [rows, cols]
  const float* weight = nullptr;  // [cols]
  const float* bias = nullptr;    // [cols]; null: none
  float* out = nullptr;           // [rows, cols]
  int64_t cols = 0;
  float eps = 0;
  NormKind kind = NormKind::kRmsNorm;

  /// The sum over the block, in one fixed order; every thread gets it.
  FMA_DEVICE static float BlockSum(float value, const Shared<float>& partial) {
    value = WarpSum(value);
    SyncThreads();  // the sum before this one may still be read
    if (LaneIndex() == 0) partial.Set(WarpIndex(), value);
    SyncThreads();
    float sum = 0;
    for (int warp = 0; warp < kWarps; ++warp) sum += partial.Get(warp);
    return sum;
  }

  /// 1 / sqrt(mean((row - mean)^2) + eps) of a row of `cols`; every thread gets it.
  FMA_DEVICE static float Scale(const float* row, int64_t cols, float mean, float eps,
                                const Shared<float>& partial) {
    float squares = 0;
    for (int64_t i = ThreadIndex(); i < cols; i += kThreads) {
      const float centred = Load(row + i) - mean;
      squares += centred * centred;
    }
    return 1.0F / std::sqrt(BlockSum(squares, partial) / static_cast<float>(cols) + eps);
  }

  FMA_DEVICE void operator()() const {
    SharedArena arena;
    const Shared<float> partial = arena.Take<float>(kWarps);
    const float* row = x + BlockIndex() * cols;
    float* out_row = out + BlockIndex() * cols;
    float mean = 0;
    if (kind == NormKind::kLayerNorm) {
      float sum = 0;
      for (int64_t i = ThreadIndex(); i < cols; i += kThreads) sum += Load(row + i);
      mean = BlockSum(sum, partial) / static_cast<float>(cols);
    }
    const float scale = Scale(row, cols, mean, eps, partial);
    for (int64_t i = ThreadIndex(); i < cols; i += kThreads) {
      float value = (Load(row + i) - mean) * scale * LoadConstant(weight + i);
      if (bias != nullptr) value += LoadConstant(bias + i);
      Store(out_row + i, value);
    }
  }
};

}  // namespace fmaserver::kernels::cuda
