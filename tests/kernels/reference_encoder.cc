#include "tests/kernels/reference_encoder.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>

namespace fmaserver::testing {

ReferenceEncoder::ReferenceEncoder(const ReferenceAttention& layer, const std::vector<float>& qkv)
    : layer_(layer),
      spec_(layer.spec),
      qkv_(qkv),
      length_(static_cast<int64_t>(qkv.size()) / layer.spec.QkvColumns()) {}

int64_t ReferenceEncoder::Width(int level) const {
  return int64_t{spec_.hierarchy.group_size} << (level - 1);
}

double ReferenceEncoder::Centre(int level, int64_t group, int64_t share) const {
  const auto width = static_cast<double>(Width(level));
  return static_cast<double>(group) * width +
         (static_cast<double>(share) + 0.5) * width / spec_.hierarchy.rank - 0.5;
}

std::vector<double> ReferenceEncoder::FarTurn(std::vector<double> x, double position) const {
  return spec_.far_positions == kernels::FarPositions::kNone
             ? x
             : layer_.Rotate(std::move(x), position);
}

std::vector<int64_t> ReferenceEncoder::FarGroups(int level, int64_t own) const {
  std::vector<int64_t> groups;
  for (int64_t group = 0; group * Width(level) < length_; ++group) {
    if (std::abs(group - own) >= 2 && std::abs(group / 2 - own / 2) <= 1) groups.push_back(group);
  }
  return groups;
}

std::vector<std::vector<double>> ReferenceEncoder::Averages(int64_t column, int level,
                                                            int64_t group) const {
  const int64_t share = Width(level) / spec_.hierarchy.rank;
  std::vector<std::vector<double>> averages;
  for (int r = 0; r < spec_.hierarchy.rank; ++r) {
    const int64_t first = group * Width(level) + r * share;
    const int64_t end = std::min(first + share, length_);
    std::vector<double>& average = averages.emplace_back();
    for (int64_t t = first; t < end; ++t) {
      const std::vector<double> x = layer_.Vector(qkv_, t, column);
      average.resize(x.size());
      for (size_t c = 0; c < x.size(); ++c) average[c] += x[c] / static_cast<double>(end - first);
    }
  }
  return averages;
}

std::vector<std::vector<double>> ReferenceEncoder::Inputs(int64_t column, int level,
                                                          int64_t group) {
  const std::vector<double> zeros(static_cast<size_t>(spec_.head_dim));
  std::vector<std::vector<double>> inputs;
  if (spec_.downsampling == kernels::Downsampling::kHierarchical && level > 1) {
    for (const int64_t child : {2 * group, 2 * group + 1}) {
      const bool exists = child * Width(level - 1) < length_;
      for (int r = 0; r < spec_.hierarchy.rank; ++r) {
        inputs.push_back(exists ? Summaries(column, level - 1, child)[r] : zeros);
      }
    }
    return inputs;
  }
  for (int64_t t = group * Width(level); t < (group + 1) * Width(level); ++t) {
    inputs.push_back(t < length_ ? layer_.Vector(qkv_, t, column) : zeros);
  }
  return inputs;
}

const std::vector<std::vector<double>>& ReferenceEncoder::Summaries(int64_t column, int level,
                                                                    int64_t group) {
  const auto key = std::make_tuple(column, level, group);
  if (const auto made = made_.find(key); made != made_.end()) return made->second;
  if (spec_.downsampling == kernels::Downsampling::kAverage) {
    return made_[key] = Averages(column, level, group);
  }
  const auto& weights = column < spec_.num_heads                        ? layer_.queries
                        : column < spec_.num_heads + spec_.num_kv_heads ? layer_.keys
                                                                        : layer_.values;
  const std::vector<std::vector<double>> inputs = Inputs(column, level, group);
  const int index = spec_.share_levels && level > 1 ? 1 : level - 1;
  return made_[key] = layer_.Downsample(weights[index], inputs);
}

void ReferenceEncoder::AddGroup(int64_t t, int head, int level, int64_t group,
                                std::vector<ReferenceItem>& items) {
  const int p = spec_.hierarchy.rank;
  const int kv_head = head / spec_.QueriesPerKvHead();
  std::vector<double> asking = FarTurn(layer_.Vector(qkv_, t, head), static_cast<double>(t));
  if (spec_.query_downsampling) {
    const int64_t own = t / Width(level);
    const int64_t share = t % Width(level) * p / Width(level);
    asking = FarTurn(Summaries(head, level, own)[share], Centre(level, own, share));
  }
  const auto keys = Summaries(spec_.num_heads + kv_head, level, group);
  const auto values = Summaries(spec_.num_heads + spec_.num_kv_heads + kv_head, level, group);
  const double bias =
      layer_.LevelBias(head, level) +
      (spec_.scale_far_field ? std::log(static_cast<double>(Width(level)) / p) : 0.0);
  for (int r = 0; r < p; ++r) {
    if (keys[r].empty()) continue;
    const double product = Dot(asking, FarTurn(keys[r], Centre(level, group, r)));
    items.push_back({0, product * layer_.ScoreScale() + bias, values[r]});
  }
}

std::vector<double> ReferenceEncoder::Evaluate() {
  const int64_t m = spec_.hierarchy.group_size;
  std::vector<double> out;
  for (int64_t t = 0; t < length_; ++t) {
    for (int head = 0; head < spec_.num_heads; ++head) {
      const int64_t key_column = spec_.num_heads + head / spec_.QueriesPerKvHead();
      const auto query = layer_.Rotate(layer_.Vector(qkv_, t, head), static_cast<double>(t));
      std::vector<ReferenceItem> items;
      for (int64_t s = 0; s < length_; ++s) {
        if (std::abs(s / m - t / m) > 1) continue;
        const auto key = layer_.Rotate(layer_.Vector(qkv_, s, key_column), static_cast<double>(s));
        items.push_back({0, Dot(query, key) * layer_.ScoreScale(),
                         layer_.Vector(qkv_, s, key_column + spec_.num_kv_heads)});
      }
      for (int level = 1; level <= spec_.hierarchy.num_levels; ++level) {
        for (const int64_t group : FarGroups(level, t / Width(level))) {
          AddGroup(t, head, level, group, items);
        }
      }
      const ReferenceSoftmax softmax(items, spec_.head_dim);
      out.insert(out.end(), softmax.out.begin(), softmax.out.end());
    }
  }
  return out;
}

int64_t ReferenceEncoder::FarScores() {
  int64_t scores = 0;
  for (int level = 1; level <= spec_.hierarchy.num_levels; ++level) {
    std::set<int64_t> asked;
    for (int64_t t = 0; t < length_; ++t) {
      const int64_t share = t * spec_.hierarchy.rank / Width(level);
      if (!asked.insert(spec_.query_downsampling ? share : t).second) continue;
      for (const int64_t group : FarGroups(level, t / Width(level))) {
        for (const auto& key : Summaries(spec_.num_heads, level, group)) {
          if (!key.empty()) scores += spec_.num_heads;
        }
      }
    }
  }
  return scores;
}

}  // namespace fmaserver::testing
