// The weights of one attention layer besides its products, packed for SIMD over channels.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cpu/aligned.h"
#include "kernels/cpu/pointwise.h"
#include "kernels/cpu/rotary.h"
#include "kernels/host/downsampling_layout.h"

namespace fmaserver::kernels::cpu {

/// What summaries are made of.
enum class Downsampled : uint8_t { kKeys, kValues, kQueries };

class PackedAttention : public AttentionWeights {
 public:
  /// `rotary` is of `spec` and the weights' factors; null without rotary positions.
  /// RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<PackedAttention>> Pack(const AttentionSpec& spec,
                                                               const HostAttention& weights,
                                                               std::shared_ptr<Rotary> rotary);

  /// Added to every score of `level` (1..L): the level's bias and ln c_l.
  float FarBias(int32_t head, int level) const {
    return far_bias[head * spec.hierarchy.num_levels + level - 1];
  }
  /// Laid out as `downsampling_layout` says.
  const float* Downsampling(Downsampled kind) const {
    return downsampling.get() + static_cast<int64_t>(kind) * downsampling_layout.floats;
  }

  AttentionSpec spec;
  std::shared_ptr<Rotary> rotary;
  PackedNorm query_norm;
  PackedNorm key_norm;
  DownsamplingLayout downsampling_layout;
  AlignedArray<float> downsampling;  ///< [2 or 3, floats]: of keys, of values, perhaps of queries
  std::vector<float> far_bias;       ///< [H, L]
};

}  // namespace fmaserver::kernels::cpu
