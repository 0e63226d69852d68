// Rotary positions. Angles are computed in float64: at position 10^6 a float32 product would be
// wrong by a tenth of a radian (docs/model.md, "Rotary positions").
#pragma once

#include <cstdint>
#include <iterator>
#include <span>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/fma/spec.h"

namespace fmaserver::kernels::cpu {

/// Cosines then sines of one position's angles, d/2 of each.
using Rotation = const float*;

/// How the layers of a model rotate, with the rotations that every step needs. Layers share one;
/// those without rotary positions have none.
class Rotary {
 public:
  /// `frequencies`: see RotaryFrequencies().
  Rotary(const AttentionSpec& spec, std::vector<double> frequencies);

  /// Whether it was made of the same.
  bool IsOf(const AttentionSpec& spec, std::span<const double> frequencies) const;

  int64_t half() const { return static_cast<int64_t>(frequencies_.size()); }

  /// By max_distance, where there is one.
  Rotation Distant() const { return distant_.data(); }
  /// By 0 .. m - 1; only with selected tokens.
  Rotation Offset(int64_t offset) const { return offsets_.data() + offset * 2 * half(); }

  /// Number `index` of the d numbers of each of these rotations.
  const float* Offsets(int64_t index) const {
    return offset_columns_.data() + index * (std::ssize(offset_columns_) / (2 * half()));
  }

  /// By the position of the first token of a fine group, `group` < the groups that were reached.
  Rotation GroupStart(int64_t group) const { return group_starts_.data() + group * 2 * half(); }

  /// Makes GroupStart() reach `groups` groups. Not while others use it.
  void ReachGroups(int64_t groups, ThreadPool& pool);

  /// Fills `rotation` (2 * half() floats) for `position`, which need not be whole.
  void Fill(double position, float* rotation) const;

  /// out = x rotated; pairs are (i, i + d/2). out may be x.
  void Apply(Rotation rotation, const float* x, float* out) const {
    Turn</*kBack=*/false>(rotation, x, out);
  }

  /// Turns x back: out is what Apply() turned into x, up to rounding. out may be x.
  void Undo(Rotation rotation, const float* x, float* out) const {
    Turn</*kBack=*/true>(rotation, x, out);
  }

 private:
  template <bool kBack>
  void Turn(Rotation rotation, const float* x, float* out) const {
    const int64_t n = half();
    for (int64_t i = 0; i < n; ++i) {
      const float cosine = rotation[i];
      const float sine = kBack ? -rotation[n + i] : rotation[n + i];
      const float low = x[i];
      const float high = x[n + i];
      out[i] = low * cosine - high * sine;
      out[n + i] = high * cosine + low * sine;
    }
  }

  std::vector<double> frequencies_;
  int64_t max_distance_;
  int64_t group_size_;
  std::vector<float> distant_;         // [d]
  std::vector<float> offsets_;         // [m, d]
  std::vector<float> offset_columns_;  // [d, m]
  std::vector<float> group_starts_;    // [groups, d]
};

}  // namespace fmaserver::kernels::cpu
