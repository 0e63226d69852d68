#include "tests/kernels/reference.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "kernels/fma/attention_parts.h"
#include "tests/kernels/reference_select.h"

namespace fmaserver::testing {

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

ReferenceSoftmax::ReferenceSoftmax(const std::vector<ReferenceItem>& items, int dim)
    : out(dim, 0.0) {
  double max = -INFINITY;
  for (const ReferenceItem& item : items) max = std::max(max, item.score);
  double total = 0;
  for (const ReferenceItem& item : items) {
    weights.push_back(item.count * std::exp(item.score - max));
    total += weights.back();
  }
  for (double& weight : weights) weight /= total;
  for (size_t i = 0; i < items.size(); ++i) {
    for (size_t c = 0; c < items[i].value.size(); ++c) out[c] += weights[i] * items[i].value[c];
  }
}

void ReferenceSoftmax::AddShares(const std::vector<ReferenceItem>& items,
                                 std::span<double> shares) const {
  for (size_t i = 0; i < items.size(); ++i) shares[items[i].part] += weights[i];
}

std::vector<double> ReferenceAttention::Vector(const std::vector<float>& qkv, int64_t position,
                                               int64_t column) const {
  const float* from = qkv.data() + position * spec.QkvColumns() + column * spec.head_dim;
  std::vector<double> x(from, from + spec.head_dim);
  if (query_norm.empty() || column >= spec.num_heads + spec.num_kv_heads) return x;
  const std::vector<float>& weight = column < spec.num_heads ? query_norm : key_norm;
  const double scale = 1 / std::sqrt(Dot(x, x) / spec.head_dim + norm_eps);
  for (size_t c = 0; c < x.size(); ++c) x[c] *= scale * weight[c];
  return x;
}

double ReferenceAttention::ScoreScale() const {
  const bool rotates = spec.positions == kernels::PositionEmbedding::kRope;
  const double factor = rotates ? spec.rope_attention_factor : 1;
  return factor * factor / std::sqrt(static_cast<double>(spec.head_dim));
}

std::vector<double> ReferenceAttention::Rotate(std::vector<double> x, double position) const {
  if (spec.positions != kernels::PositionEmbedding::kRope) return x;
  const size_t half = x.size() / 2;
  for (size_t i = 0; i < half; ++i) {
    const double angle = position / (rope_factors.empty() ? 1 : rope_factors[i]) *
                         std::pow(spec.rope_theta, -2.0 * static_cast<double>(i) / x.size());
    const double low = x[i];
    const double high = x[half + i];
    x[i] = low * std::cos(angle) - high * std::sin(angle);
    x[half + i] = high * std::cos(angle) + low * std::sin(angle);
  }
  return x;
}

std::vector<std::vector<double>> ReferenceAttention::Summaries(const std::vector<float>& qkv,
                                                               bool of_keys, int kv_head, int level,
                                                               int64_t group) const {
  const int p = spec.hierarchy.rank;
  const int d = spec.head_dim;
  const int64_t width = int64_t{spec.hierarchy.group_size} << (level - 1);
  std::vector<std::vector<double>> inputs;
  if (spec.downsampling == kernels::Downsampling::kHierarchical && level > 1) {
    for (int64_t child : {2 * group, 2 * group + 1}) {
      for (auto& summary : Summaries(qkv, of_keys, kv_head, level - 1, child)) {
        inputs.push_back(std::move(summary));
      }
    }
  } else {
    const int64_t column = spec.num_heads + (of_keys ? 0 : spec.num_kv_heads) + kv_head;
    for (int64_t j = 0; j < width; ++j) inputs.push_back(Vector(qkv, group * width + j, column));
  }
  if (spec.downsampling == kernels::Downsampling::kAverage) {
    const auto taps = static_cast<int64_t>(inputs.size());
    std::vector<std::vector<double>> summaries(p, std::vector<double>(d, 0.0));
    for (int64_t j = 0; j < taps; ++j) {
      for (int c = 0; c < d; ++c) summaries[j * p / taps][c] += inputs[j][c] * p / taps;
    }
    return summaries;
  }
  const int index = spec.share_levels && level > 1 ? 1 : level - 1;
  return Downsample((of_keys ? keys : values)[index], inputs);
}

std::vector<std::vector<double>> ReferenceAttention::Downsample(
    const ReferenceDownsampling& weights, const std::vector<std::vector<double>>& inputs) const {
  const int p = spec.hierarchy.rank;
  const int d = spec.head_dim;
  const auto taps = static_cast<int64_t>(inputs.size());
  std::vector<std::vector<double>> summaries(p, std::vector<double>(d, 0.0));
  for (int c = 0; c < d; ++c) {
    for (int r = 0; r < p; ++r) {
      double sum = weights.bias[c * p + r];
      for (int64_t j = 0; j < taps; ++j) {
        if (spec.downsampling == kernels::Downsampling::kConv) {
          for (int from = 0; from < d; ++from) {
            sum += weights.weight[((c * p + r) * d + from) * taps + j] * inputs[j][from];
          }
        } else {
          sum += weights.weight[(c * p + r) * taps + j] * inputs[j][c];
        }
      }
      summaries[r][c] = sum;
    }
  }
  return summaries;
}

double ReferenceAttention::LevelBias(int head, int level) const {
  if (level_bias.empty()) return 0;
  return level_bias[head * level_bias_columns + std::min(level, level_bias_columns) - 1];
}

void ReferenceAttention::AddRow(const std::vector<float>& qkv, int64_t t,
                                ReferenceRows& rows) const {
  const int64_t m = spec.hierarchy.group_size;
  const int p = spec.hierarchy.rank;
  const int64_t fine = t / m;
  const double scale = ScoreScale();
  const bool rotated_far = spec.positions == kernels::PositionEmbedding::kRope &&
                           spec.far_positions == kernels::FarPositions::kCenter;
  const auto limit = static_cast<double>(spec.max_distance);
  const kernels::AttentionParts parts(spec.hierarchy);
  const size_t first_share = rows.shares.size();
  rows.shares.resize(first_share + spec.num_kv_heads * parts.Count());
  for (int head = 0; head < spec.num_heads; ++head) {
    const int kv_head = head / (spec.num_heads / spec.num_kv_heads);
    const std::vector<double> plain = Vector(qkv, t, head);
    const std::vector<double> query = Rotate(plain, static_cast<double>(t));
    const std::vector<double>& far_query = rotated_far ? query : plain;
    const std::vector<double> distant_query = Rotate(plain, limit);
    const bool past_limit = spec.max_distance > 0 && t > spec.max_distance;
    const auto key = [&](int64_t s) { return Vector(qkv, s, spec.num_heads + kv_head); };
    const auto value = [&](int64_t s) {
      return Vector(qkv, s, spec.num_heads + spec.num_kv_heads + kv_head);
    };
    std::vector<ReferenceItem> items;
    for (int64_t s = std::max<int64_t>(0, (fine - 1) * m); s <= t; ++s) {
      items.push_back({kernels::AttentionParts::kNearField,
                       Dot(query, Rotate(key(s), static_cast<double>(s))) * scale, value(s)});
    }
    if (fine == 0 && spec.padding == kernels::Padding::kZeroKeys) {
      items.push_back({kernels::AttentionParts::kNearField, 0, {}, static_cast<double>(m)});
    }
    for (int64_t s = 0; fine >= 2 && s < spec.hierarchy.sink_tokens; ++s) {
      const auto sink = rotated_far ? Rotate(key(s), static_cast<double>(s)) : key(s);
      items.push_back({kernels::AttentionParts::kSinks,
                       Dot(past_limit ? distant_query : far_query, sink) * scale, value(s)});
    }
    for (int level = 1; level <= spec.hierarchy.num_levels; ++level) {
      const int64_t width = m << (level - 1);
      const bool distant = spec.max_distance > 0 && 4 * width > spec.max_distance;
      const double bias =
          LevelBias(head, level) +
          (spec.scale_far_field ? std::log(static_cast<double>(width) / static_cast<double>(p))
                                : 0.0);
      const int64_t own = t / width;
      std::vector<int64_t> groups = {own - 2};
      if (own % 2 == 1) groups.insert(groups.begin(), own - 3);
      for (const int64_t group : groups) {
        if (group < 0) {
          if (spec.padding != kernels::Padding::kZeroKeys) continue;
          items.push_back({parts.Level(level), bias, {}, double(p)});
          continue;
        }
        const auto far_keys = Summaries(qkv, true, kv_head, level, group);
        const auto far_values = Summaries(qkv, false, kv_head, level, group);
        for (int r = 0; r < p; ++r) {
          const double centre = group * width + (r + 0.5) * width / p - 0.5;
          const auto placed = rotated_far && !distant ? Rotate(far_keys[r], centre) : far_keys[r];
          const auto& asking = distant ? distant_query : far_query;
          items.push_back({parts.Level(level), Dot(asking, placed) * scale + bias, far_values[r]});
        }
      }
    }
    const ReferenceSoftmax softmax(items, spec.head_dim);
    rows.out.insert(rows.out.end(), softmax.out.begin(), softmax.out.end());
    softmax.AddShares(items, std::span(rows.shares).subspan(first_share + kv_head * parts.Count()));
  }
}

ReferenceRows ReferenceAttention::EvaluateRows(const std::vector<float>& qkv) const {
  if (spec.Selects()) return EvaluateSelected(*this, qkv);
  ReferenceRows rows;
  const int64_t n = static_cast<int64_t>(qkv.size()) / spec.QkvColumns();
  for (int64_t t = 0; t < n; ++t) AddRow(qkv, t, rows);
  return rows;
}

}  // namespace fmaserver::testing
