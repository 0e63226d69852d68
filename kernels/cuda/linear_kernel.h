// Products of few rows, bound by the bandwidth with which the weights arrive.
//
// A warp computes kOutputs outputs of up to kRows rows. Its lanes walk the inputs in 16-byte pieces
// of each weight row, 32 pieces at a time, so every weight is loaded once, coalesced; the inputs
// come out of the first-level cache. kDepth pieces of every row are asked for before the first is
// used, which keeps enough bytes on their way to hide the memory's latency. Each lane's sum is one
// chain in a fixed order and the lanes are added in a fixed tree, so a row's result does not depend
// on kRows, on its neighbours or on its place.
#pragma once

#include <cstdint>

#include "kernels/cuda/element.h"

namespace fmaserver::cuda {

/// y = x W^T + b, or y += x W^T + b. Grid: Blocks(out). Rows past `rows` are computed like the last
/// one and not stored.
template <typename T, int kRows, int kOutputs, int kDepth>
struct LinearKernel {
  static constexpr int kThreads = 128;
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr const char* kName = "linear";
  static_assert(kRows * kOutputs <= kWarpSize, "one lane stores one result");

  const T* weight = nullptr;    // [out, in], rows `pitch` elements apart, zeros from `in` on
  const float* bias = nullptr;  // [out]; null: none
  const float* x = nullptr;     // [rows, in]
  float* y = nullptr;           // [rows, out]
  int64_t pitch = 0;            // a multiple of kVector<T>
  int64_t in = 0;
  int64_t out = 0;
  int32_t rows = 0;
  bool x_is_aligned = false;  // every row of x starts at a multiple of 16 bytes
  bool accumulate = false;

  static constexpr int64_t Blocks(int64_t out) {
    return (out + kWarps * kOutputs - 1) / (kWarps * kOutputs);
  }

  /// Inputs [first, first + kVector) of a row; zeros past its end.
  FMA_DEVICE void LoadInputs(const float* row, int64_t first, float (&values)[kVector<T>]) const {
    if (x_is_aligned && first + kVector<T> <= in) {
      FMA_UNROLL
      for (int i = 0; i < kVector<T>; i += 4) {
        const auto four = Load(reinterpret_cast<const Vec<float, 4>*>(row + first + i));
        FMA_UNROLL
        for (int j = 0; j < 4; ++j) values[i + j] = four.lane[j];
      }
    } else {
      FMA_UNROLL
      for (int i = 0; i < kVector<T>; ++i) {
        values[i] = first + i < in ? Load(row + first + i) : 0.0F;
      }
    }
  }

  /// One piece of kOutputs weight rows; zeros past the end.
  FMA_DEVICE void LoadWeights(int64_t first_out, int64_t i, Vector<T> (&weights)[kOutputs]) const {
    FMA_UNROLL
    for (int o = 0; o < kOutputs; ++o) {
      const int64_t row = first_out + o < out ? first_out + o : out - 1;
      weights[o] = i < in
                       ? LoadConstant(reinterpret_cast<const Vector<T>*>(weight + row * pitch + i))
                       : Vector<T>{};
    }
  }

  FMA_DEVICE void Multiply(int64_t i, const Vector<T> (&weights)[kOutputs],
                           float (&sum)[kRows][kOutputs]) const {
    FMA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      float inputs[kVector<T>];
      LoadInputs(x + (r < rows ? r : rows - 1) * in, i, inputs);
      FMA_UNROLL
      for (int o = 0; o < kOutputs; ++o) {
        FMA_UNROLL
        for (int j = 0; j < kVector<T>; ++j) sum[r][o] += inputs[j] * AsFloat(weights[o].lane[j]);
      }
    }
  }

  FMA_DEVICE void Accumulate(int64_t first_out, float (&sum)[kRows][kOutputs]) const {
    constexpr int64_t kStride = int64_t{kWarpSize} * kVector<T>;
    for (int64_t first = LaneIndex() * kVector<T>; first < in; first += kDepth * kStride) {
      Vector<T> weights[kDepth][kOutputs];
      FMA_UNROLL
      for (int depth = 0; depth < kDepth; ++depth) {
        LoadWeights(first_out, first + depth * kStride, weights[depth]);
      }
      FMA_UNROLL
      for (int depth = 0; depth < kDepth; ++depth) {
        Multiply(first + depth * kStride, weights[depth], sum);
      }
    }
  }

  FMA_DEVICE void operator()() const {
    const int64_t first_out = (BlockIndex() * kWarps + WarpIndex()) * kOutputs;
    if (first_out >= out) return;  // the whole warp
    float sum[kRows][kOutputs] = {};
    Accumulate(first_out, sum);
    FMA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      FMA_UNROLL
      for (int o = 0; o < kOutputs; ++o) {
        float total = WarpSum(sum[r][o]);
        const int64_t column = first_out + o;
        if (LaneIndex() != r * kOutputs + o || r >= rows || column >= out) continue;
        float* to = y + r * out + column;
        if (bias != nullptr) total += LoadConstant(bias + column);
        if (accumulate) total += Load(to);
        Store(to, total);
      }
    }
  }
};

}  // namespace fmaserver::cuda
