// Rotary positions. Angles are computed in float64: at position 10^6 a float32 product would be
// wrong by a tenth of a radian (docs/model.md, "Rotary positions").
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/fma/spec.h"
#include "kernels/host/attention.h"

namespace fmaserver::kernels::cpu {

/// Cosines then sines of one position's angles, d/2 of each.
using Rotation = const float*;

class Rotary {
 public:
  explicit Rotary(const AttentionSpec& spec) : frequencies_(RotaryFrequencies(spec)) {}

  bool enabled() const { return !frequencies_.empty(); }
  int64_t half() const { return static_cast<int64_t>(frequencies_.size()); }

  /// Fills `rotation` (2 * half() floats) for `position`, which need not be whole.
  void Fill(double position, float* rotation) const {
    for (int64_t i = 0; i < half(); ++i) {
      const double angle = position * frequencies_[i];
      rotation[i] = static_cast<float>(std::cos(angle));
      rotation[half() + i] = static_cast<float>(std::sin(angle));
    }
  }

  /// out = x rotated; pairs are (i, i + d/2). out may be x.
  void Apply(Rotation rotation, const float* x, float* out) const {
    const int64_t n = half();
    for (int64_t i = 0; i < n; ++i) {
      const float cosine = rotation[i];
      const float sine = rotation[n + i];
      const float low = x[i];
      const float high = x[n + i];
      out[i] = low * cosine - high * sine;
      out[n + i] = high * cosine + low * sine;
    }
  }

  /// Turns x back: out is what Apply() turned into x, up to rounding. out may be x.
  template <typename T>
  void Undo(Rotation rotation, const T* x, T* out) const {
    const int64_t n = half();
    for (int64_t i = 0; i < n; ++i) {
      const T cosine = rotation[i];
      const T sine = rotation[n + i];
      const T low = x[i];
      const T high = x[n + i];
      out[i] = low * cosine + high * sine;
      out[n + i] = high * cosine - low * sine;
    }
  }

 private:
  std::vector<double> frequencies_;
};

}  // namespace fmaserver::kernels::cpu
