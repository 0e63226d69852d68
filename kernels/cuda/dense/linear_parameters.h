// The parameters of the kernels for products with few rows, and the code that they share.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/dense/activation.h"
#include "kernels/cuda/runtime/element.h"

namespace fmaserver::kernels::cuda {

/// y = x W^T + b, or y += x W^T + b. Rows past `rows` are computed like the last one or like zeros,
/// and not stored.
///
/// With a norm the inputs are x / sqrt(mean(x^2) + eps) * norm. The squares are summed while the
/// inputs are read, and the resulting factor is applied last. With `activates` the results are
/// activated; swiglu then pairs output o (the gate) with output out / 2 + o.
template <typename T>
struct LinearParameters {
  const T* weight = nullptr;    // [out, in], rows `pitch` elements apart, zeros from `in` on
  const float* bias = nullptr;  // [out]; null: none
  const float* x = nullptr;     // [rows, in]
  float* y = nullptr;           // [rows, out]
  int64_t pitch = 0;            // a multiple of kVector<T>
  int64_t in = 0;
  int64_t out = 0;
  int32_t rows = 0;
  const float* norm = nullptr;  // [in]; null: none
  float norm_eps = 0;
  bool x_is_aligned = false;  // every row of x starts at a multiple of 16 bytes
  bool accumulate = false;
  bool activates = false;
  MlpKind activation = MlpKind::kGelu;

  FMA_DEVICE bool IsGated() const { return activates && activation == MlpKind::kSwiglu; }
  /// Columns of y.
  FMA_DEVICE int64_t Results() const { return IsGated() ? out / 2 : out; }

  /// The weight row of output `o` among those for the `per` columns of y from `first` on: first the
  /// columns themselves, then, with swiglu, their partners. Past the end it is the last row, which
  /// exists.
  FMA_DEVICE int64_t WeightRow(int64_t first, int per, int o) const {
    const int64_t results = Results();
    const int column = o % per;
    const int64_t row = first + column < results ? first + column : results - 1;
    return o == column ? row : results + row;
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

  /// The factor that a row's norm gives its results, from the sum of the row's squares.
  FMA_DEVICE float NormScale(float squares) const {
    return 1.0F / std::sqrt(squares / static_cast<float>(in) + norm_eps);
  }

  /// Stores the result at [row, column] from the sums over the inputs: its own, and its partner's
  /// if it is gated.
  FMA_DEVICE void StoreResult(int row, int64_t column, float sum, float partner) const {
    float value = WithBias(sum, column);
    if (activates) {
      const float up = IsGated() ? WithBias(partner, Results() + column) : 0.0F;
      value = Activated(activation, value, up);
    }
    float* to = y + row * Results() + column;
    if (accumulate) value += Load(to);
    Store(to, value);
  }

 private:
  FMA_DEVICE float WithBias(float value, int64_t row) const {
    return bias != nullptr ? value + LoadConstant(bias + row) : value;
  }
};

}  // namespace fmaserver::kernels::cuda
