#include "server/engine/attention_shares.h"

#include <cstdint>

#include "kernels/fma/attention_parts.h"

namespace fmaserver::engine {

size_t NumShares(const model::ModelConfig& config) {
  const kernels::AttentionSpec& attention = config.attention;
  const int64_t parts = kernels::AttentionParts(attention.hierarchy).Count();
  return static_cast<size_t>(config.num_layers * attention.num_kv_heads * parts);
}

AttentionShares SharesOf(const model::ModelConfig& config, std::span<const float> shares) {
  using Parts = kernels::AttentionParts;
  const kernels::AttentionSpec& attention = config.attention;
  const Parts parts(attention.hierarchy);
  AttentionShares layers(static_cast<size_t>(config.num_layers));
  for (LayerShares& layer : layers) {
    const auto average = [&](int part) {
      float sum = 0;
      for (int32_t head = 0; head < attention.num_kv_heads; ++head) {
        sum += shares[head * parts.Count() + part];
      }
      return sum / static_cast<float>(attention.num_heads);
    };
    layer.sinks = average(Parts::kSinks);
    layer.near_field = average(Parts::kNearField);
    for (int level = 1; level <= attention.hierarchy.num_levels; ++level) {
      layer.levels.push_back(average(parts.Level(level)));
    }
    layer.opened_units = average(parts.OpenedUnits());
    shares = shares.subspan(static_cast<size_t>(attention.num_kv_heads) *
                            static_cast<size_t>(parts.Count()));
  }
  return layers;
}

}  // namespace fmaserver::engine
