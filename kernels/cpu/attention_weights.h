// What one attention layer has besides its products, packed for SIMD over channels.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cpu/aligned.h"

namespace fmaserver::kernels::cpu {

/// One level's downsampling of keys or of values; D = SlotLayout::padded_dim, padded with zeros.
struct PackedDownsampling {
  AlignedArray<float> weight;  ///< [inputs, p, D]; conv: [inputs, p, d, D], D the output channel
  AlignedArray<float> bias;    ///< [p, D]
};

class PackedAttention : public AttentionWeights {
 public:
  static absl::StatusOr<std::unique_ptr<PackedAttention>> Pack(const AttentionSpec& spec,
                                                               const HostAttention& weights);

  /// Added to every score of `level` (1..L): the level's bias and ln c_l.
  float FarBias(int32_t head, int level) const {
    return far_bias[head * spec.hierarchy.num_levels + level - 1];
  }
  /// Null with average downsampling.
  const PackedDownsampling* KeysAt(int level) const { return At(keys, level); }
  const PackedDownsampling* ValuesAt(int level) const { return At(values, level); }

  AttentionSpec spec;
  std::vector<PackedDownsampling> keys;
  std::vector<PackedDownsampling> values;
  std::vector<float> far_bias;  ///< [H, L]

 private:
  const PackedDownsampling* At(const std::vector<PackedDownsampling>& weights, int level) const {
    return weights.empty() ? nullptr : &weights[DownsamplingIndex(spec, level)];
  }
};

}  // namespace fmaserver::kernels::cpu
