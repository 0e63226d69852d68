// Products of few rows, bound by the bandwidth with which the weights arrive.
//
// A warp computes kOutputs outputs of up to kRows rows. Its lanes walk the inputs in 16-byte pieces
// of each weight row, 32 pieces at a time, so every weight is loaded once, coalesced; the inputs
// come out of the first-level cache. kDepth pieces of every row are asked for before the first is
// used, which keeps enough bytes on their way to hide the memory's latency. Each lane's sum is one
// chain in a fixed order and the lanes are added in a fixed tree, so a row's result does not depend
// on kRows, on its neighbours or on its place.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/dense/activation.h"
#include "kernels/cuda/runtime/element.h"

namespace fmaserver::kernels::cuda {

/// y = x W^T + b, or y += x W^T + b. Grid: Blocks(). Rows past `rows` are computed like the last
/// one and not stored.
///
/// With kNorms the inputs are x / sqrt(mean(x^2) + eps) * norm: a warp sees all inputs of a row, so
/// it has the squares as well, and the factor that they give comes last. With `activates` the
/// results are activated; swiglu then pairs output o (the gate) with output out / 2 + o.
template <typename T, int kRows, int kOutputs, int kDepth, bool kNorms>
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
  const float* norm = nullptr;  // [in], with kNorms
  float norm_eps = 0;
  bool x_is_aligned = false;  // every row of x starts at a multiple of 16 bytes
  bool accumulate = false;
  bool activates = false;
  MlpKind activation = MlpKind::kGelu;

  FMA_DEVICE bool IsGated() const { return activates && activation == MlpKind::kSwiglu; }
  /// Columns of y, and how many of them a warp computes.
  FMA_DEVICE int64_t Results() const { return IsGated() ? out / 2 : out; }
  FMA_DEVICE int ResultsOfWarp() const { return IsGated() ? kOutputs / 2 : kOutputs; }

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

  /// The weight row of the warp's output `o`; one that exists, also past the end.
  FMA_DEVICE int64_t WeightRow(int64_t first, int o) const {
    const int64_t results = Results();
    const int column = o % ResultsOfWarp();
    const int64_t row = first + column < results ? first + column : results - 1;
    return o == column ? row : results + row;
  }

  /// One piece of kOutputs weight rows; zeros past the end.
  FMA_DEVICE void LoadWeights(int64_t first_out, int64_t i, Vector<T> (&weights)[kOutputs]) const {
    FMA_UNROLL
    for (int o = 0; o < kOutputs; ++o) {
      const int64_t row = WeightRow(first_out, o);
      weights[o] = i < in
                       ? LoadConstant(reinterpret_cast<const Vector<T>*>(weight + row * pitch + i))
                       : Vector<T>{};
    }
  }

  struct Sums {
    float dot[kRows][kOutputs] = {};
    float squares[kNorms ? kRows : 1] = {};
  };

  FMA_DEVICE void Multiply(int64_t i, const Vector<T> (&weights)[kOutputs], Sums& sums) const {
    float gains[kVector<T>];
    if constexpr (kNorms) LoadInputs(norm, i, gains);
    FMA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      float inputs[kVector<T>];
      LoadInputs(x + (r < rows ? r : rows - 1) * in, i, inputs);
      if constexpr (kNorms) {
        FMA_UNROLL
        for (int j = 0; j < kVector<T>; ++j) {
          sums.squares[r] += inputs[j] * inputs[j];
          inputs[j] *= gains[j];
        }
      }
      FMA_UNROLL
      for (int o = 0; o < kOutputs; ++o) {
        FMA_UNROLL
        for (int j = 0; j < kVector<T>; ++j) {
          sums.dot[r][o] += inputs[j] * AsFloat(weights[o].lane[j]);
        }
      }
    }
  }

  FMA_DEVICE void Accumulate(int64_t first_out, Sums& sums) const {
    constexpr int64_t kStride = int64_t{kWarpSize} * kVector<T>;
    for (int64_t first = LaneIndex() * kVector<T>; first < in; first += kDepth * kStride) {
      Vector<T> weights[kDepth][kOutputs];
      FMA_UNROLL
      for (int depth = 0; depth < kDepth; ++depth) {
        LoadWeights(first_out, first + depth * kStride, weights[depth]);
      }
      FMA_UNROLL
      for (int depth = 0; depth < kDepth; ++depth) {
        Multiply(first + depth * kStride, weights[depth], sums);
      }
    }
  }

  /// Sums over the lanes, every lane with all of them: the outputs before the bias.
  FMA_DEVICE void AddLanes(Sums& sums) const {
    FMA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      float scale = 1;
      if constexpr (kNorms) {
        scale = 1.0F / std::sqrt(WarpSum(sums.squares[r]) / static_cast<float>(in) + norm_eps);
      }
      FMA_UNROLL
      for (int o = 0; o < kOutputs; ++o) sums.dot[r][o] = WarpSum(sums.dot[r][o]) * scale;
    }
  }

  FMA_DEVICE float WithBias(float value, int64_t row) const {
    return bias != nullptr ? value + LoadConstant(bias + row) : value;
  }

  FMA_DEVICE void operator()() const {
    const int64_t first_out = (BlockIndex() * kWarps + WarpIndex()) * ResultsOfWarp();
    if (first_out >= Results()) return;  // the whole warp
    Sums sums;
    Accumulate(first_out, sums);
    AddLanes(sums);
    FMA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      FMA_UNROLL
      for (int o = 0; o < kOutputs; ++o) {
        const int64_t column = first_out + o;
        // Each result is one lane's to store.
        if (LaneIndex() != r * kOutputs + o || r >= rows) continue;
        if (o >= ResultsOfWarp() || column >= Results()) continue;
        float value = WithBias(sums.dot[r][o], column);
        float up = 0;
        if (IsGated()) {
          up = WithBias(sums.dot[r][(o + kOutputs / 2) % kOutputs], Results() + column);
        }
        if (activates) value = Activated(activation, value, up);
        float* to = y + r * Results() + column;
        if (accumulate) value += Load(to);
        Store(to, value);
      }
    }
  }
};

}  // namespace fmaserver::kernels::cuda
