// Products of few rows, bound by the bandwidth with which the weights arrive.
//
// A warp computes kOutputs outputs of up to kRows rows. Its lanes walk the inputs in 16-byte pieces
// of each weight row, 32 pieces at a time, so every weight is loaded once, coalesced; the inputs
// come from the first-level cache. kDepth pieces of every row are requested before the first is
// used, which keeps enough bytes in flight to hide the memory's latency. Each lane's sum is one
// chain in a fixed order and the lanes are added in a fixed tree, so a row's result does not depend
// on kRows, on its neighbours or on its place.
#pragma once

#include <cstdint>

#include "kernels/cuda/dense/linear_parameters.h"

namespace fmaserver::kernels::cuda {

/// Grid: Blocks().
template <typename T, int kRows, int kOutputs, int kDepth, bool kNorms>
struct LinearKernel : LinearParameters<T> {
  using Parameters = LinearParameters<T>;
  using Parameters::in;
  using Parameters::pitch;
  using Parameters::rows;
  using Parameters::weight;
  using Parameters::x;

  static constexpr int kThreads = 128;
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr const char* kName = "linear";
  static_assert(kRows * kOutputs <= kWarpSize, "one lane stores one result");

  /// Columns of y that a warp computes.
  FMA_DEVICE int ResultsOfWarp() const { return this->IsGated() ? kOutputs / 2 : kOutputs; }

  static constexpr int64_t Blocks(int64_t out) {
    return (out + kWarps * kOutputs - 1) / (kWarps * kOutputs);
  }

  /// Loads one piece of kOutputs weight rows; zeros past the end.
  FMA_DEVICE void LoadWeights(int64_t first_out, int64_t i, Vector<T> (&weights)[kOutputs]) const {
    FMA_UNROLL
    for (int o = 0; o < kOutputs; ++o) {
      const int64_t row = this->WeightRow(first_out, ResultsOfWarp(), o);
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
    if constexpr (kNorms) this->LoadInputs(this->norm, i, gains);
    FMA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      float inputs[kVector<T>];
      this->LoadInputs(x + (r < rows ? r : rows - 1) * in, i, inputs);
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

  /// Adds the sums of all lanes, so that every lane has the outputs before the bias.
  FMA_DEVICE void AddLanes(Sums& sums) const {
    FMA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      float scale = 1;
      if constexpr (kNorms) scale = this->NormScale(WarpSum(sums.squares[r]));
      FMA_UNROLL
      for (int o = 0; o < kOutputs; ++o) sums.dot[r][o] = WarpSum(sums.dot[r][o]) * scale;
    }
  }

  FMA_DEVICE void operator()() const {
    const int64_t first_out = (BlockIndex() * kWarps + WarpIndex()) * ResultsOfWarp();
    if (first_out >= this->Results()) return;  // the whole warp
    Sums sums;
    Accumulate(first_out, sums);
    AddLanes(sums);
    FMA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      FMA_UNROLL
      for (int o = 0; o < kOutputs; ++o) {
        const int64_t column = first_out + o;
        // One lane stores each result.
        if (LaneIndex() != r * kOutputs + o || r >= rows) continue;
        if (o >= ResultsOfWarp() || column >= this->Results()) continue;
        this->StoreResult(r, column, sums.dot[r][o], sums.dot[r][(o + kOutputs / 2) % kOutputs]);
      }
    }
  }
};

}  // namespace fmaserver::kernels::cuda
