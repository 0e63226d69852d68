#include "kernels/cpu/attention_shares.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "kernels/fma/attention_parts.h"

namespace fmaserver::kernels::cpu {
namespace {

double Sum(std::span<const float> weights) {
  return std::accumulate(weights.begin(), weights.end(), 0.0);
}

}  // namespace

void AddShares(const SlotLayout& layout, const QueryWeights& weights, std::span<float> shares) {
  const Hierarchy& h = layout.hierarchy;
  const AttentionParts parts(h);
  const auto add = [&](int part, double weight) {
    shares[part] += static_cast<float>(weight * weights.scale);
  };
  const auto add_far = [&](int part, int64_t first, int64_t count) {
    const auto from = std::min(static_cast<size_t>(first), weights.far.size());
    const auto left = std::min(static_cast<size_t>(count), weights.far.size() - from);
    add(part, Sum(weights.far.subspan(from, left)));
  };
  add_far(AttentionParts::kSinks, 0, h.sink_tokens);
  for (int level = 1; level <= h.num_levels; ++level) {
    add_far(parts.Level(level), layout.FarColumn(level, 0), layout.GroupsKept() * h.rank);
  }
  add(AttentionParts::kNearField, Sum(weights.near));
  add(parts.OpenedUnits(), Sum(weights.opened));
  for (const MissingKeys& keys : weights.missing) add(keys.part, keys.weight);
}

}  // namespace fmaserver::kernels::cpu
