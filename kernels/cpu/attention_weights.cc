#include "kernels/cpu/attention_weights.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/host/attention.h"

namespace fmaserver::kernels::cpu {

absl::StatusOr<std::unique_ptr<PackedAttention>> PackedAttention::Pack(
    const AttentionSpec& spec, const HostAttention& weights, std::shared_ptr<Rotary> rotary) {
  auto packed = std::make_unique<PackedAttention>();
  packed->spec = spec;
  packed->rotary = std::move(rotary);
  packed->query_norm = PackedNorm(weights.query_norm);
  packed->key_norm = PackedNorm(weights.key_norm);
  packed->downsampling_layout = DownsamplingLayout(spec);
  const int64_t floats = (spec.query_downsampling ? 3 : 2) * packed->downsampling_layout.floats;
  packed->downsampling = TryAllocateAligned<float>(floats);
  if (packed->downsampling == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory for ", floats, " numbers of downsampling weights"));
  }
  std::fill_n(packed->downsampling.get(), floats, 0.0F);
  PackDownsampling(spec, weights, packed->downsampling_layout, packed->downsampling.get());
  packed->far_bias = FarBiases(spec, weights.level_bias);
  return packed;
}

}  // namespace fmaserver::kernels::cpu
