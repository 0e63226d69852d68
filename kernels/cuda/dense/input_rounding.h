// How inputs of a product with integers in blocks become such integers, as
// kernels/cpu/block_linear.h says; and what is done before where the product takes in an RMS norm
// or an activation, which are the separate operations' to the bit.
//
// A thread takes four inputs, and eight neighbouring threads a block.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/cuda/dense/activation.h"
#include "kernels/cuda/dense/norm_kernel.h"
#include "kernels/cuda/runtime/device.h"
#include "kernels/fma/weight_format.h"

namespace fmaserver::kernels::cuda {

/// The inputs as they are before.
struct FloatInputs {
  const float* x = nullptr;  // [rows, cols]
  int64_t cols = 0;
  int64_t in = 0;  // of the product: cols, or with swiglu half of them
  bool x_is_aligned = false;
  const float* norm = nullptr;  // [in]; null: none
  float norm_eps = 0;
  bool activates = false;
  MlpKind activation = MlpKind::kGelu;

  /// What the norm multiplies a row by; all threads of the block call it. `partial` has
  /// NormKernel::kWarps numbers.
  FMA_DEVICE float NormScale(int64_t row, const Shared<float>& partial) const {
    return norm == nullptr ? 1.0F
                           : NormKernel::Scale(x + row * cols, cols, 0.0F, norm_eps, partial);
  }

  /// The product's inputs [i, i + 4) of a row with that scale; zeros past its end.
  FMA_DEVICE Vec<float, 4> Four(int64_t row, int64_t i, float scale) const {
    const float* from = x + row * cols;
    Vec<float, 4> four = LoadFour(from, i);
    if (norm != nullptr) {
      const Vec<float, 4> gains = LoadFour(norm, i);
      FMA_UNROLL
      for (int j = 0; j < 4; ++j) four.lane[j] = four.lane[j] * scale * gains.lane[j];
    }
    if (activates) {
      const Vec<float, 4> up = IsGated() ? LoadFour(from + in, i) : Vec<float, 4>{};
      FMA_UNROLL
      for (int j = 0; j < 4; ++j) {
        four.lane[j] = i + j < in ? Activated(activation, four.lane[j], up.lane[j]) : 0.0F;
      }
    }
    return four;
  }

 private:
  FMA_DEVICE bool IsGated() const { return activates && activation == MlpKind::kSwiglu; }

  FMA_DEVICE Vec<float, 4> LoadFour(const float* from, int64_t i) const {
    if (x_is_aligned && i + 4 <= in) return Load(reinterpret_cast<const Vec<float, 4>*>(from + i));
    Vec<float, 4> four = {};
    FMA_UNROLL
    for (int j = 0; j < 4; ++j) {
      if (i + j < in) four.lane[j] = Load(from + i + j);
    }
    return four;
  }
};

/// Four inputs as integers, and the scale and the sum of the codes of their block.
struct RoundedFour {
  static constexpr int kLanes = kWeightBlock / 4;  ///< of a block

  uint32_t codes = 0;
  int sum = 0;
  float scale = 0;

  /// All lanes of a warp call it.
  FMA_DEVICE static RoundedFour Of(const Vec<float, 4>& four) {
    constexpr float kLeast = 0x1p-100F;
    constexpr float kMostCode = 127;
    const float largest = LargestOfBlock(four);
    const bool finite = largest < std::numeric_limits<float>::infinity();
    const bool rounds = finite && largest >= kLeast;
    const float inverse = rounds ? kMostCode / largest : 0.0F;
    RoundedFour rounded;
    FMA_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int code = rounds ? static_cast<int>(std::rint(four.lane[i] * inverse)) : 0;
      rounded.codes |= static_cast<uint32_t>(code & 0xFF) << (8 * i);
      rounded.sum += code;
    }
    FMA_UNROLL
    for (int lanes = 1; lanes < kLanes; lanes *= 2) {
      rounded.sum += ShuffleXor(rounded.sum, lanes);
    }
    if (rounds) rounded.scale = largest / kMostCode;
    if (!finite) rounded.scale = std::numeric_limits<float>::quiet_NaN();
    return rounded;
  }

 private:
  /// The largest magnitude of the block; infinity where a number is not finite.
  FMA_DEVICE static float LargestOfBlock(const Vec<float, 4>& four) {
    float largest = 0;
    FMA_UNROLL
    for (int i = 0; i < 4; ++i) {
      const float magnitude = std::isfinite(four.lane[i]) ? std::abs(four.lane[i])
                                                          : std::numeric_limits<float>::infinity();
      largest = magnitude > largest ? magnitude : largest;
    }
    FMA_UNROLL
    for (int lanes = 1; lanes < kLanes; lanes *= 2) {
      const float other = ShuffleXor(largest, lanes);
      largest = other > largest ? other : largest;
    }
    return largest;
  }
};

}  // namespace fmaserver::kernels::cuda
