#include "tests/kernels/random_attention.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace fmaserver::testing {
namespace {

template <typename T>
T PickFrom(std::mt19937& random, std::initializer_list<T> choices) {
  return choices.begin()[random() % choices.size()];
}

kernels::HostMatrix AsHost(const std::vector<float>& values, int64_t rows) {
  return {.data = reinterpret_cast<const std::byte*>(values.data()),
          .format = kernels::WeightFormat::kF32,
          .rows = rows,
          .cols = static_cast<int64_t>(values.size()) / rows};
}

/// What models have that select tokens.
void DrawSelection(std::mt19937& random, kernels::AttentionSpec& spec) {
  kernels::Hierarchy& h = spec.hierarchy;
  h.sink_tokens = std::min(h.sink_tokens, h.group_size - 1);
  h.rank = 1 + static_cast<int32_t>(random() % (h.group_size - h.sink_tokens));
  spec.scale_far_field = false;
  spec.padding = kernels::Padding::kMasked;
  spec.far_positions =
      PickFrom(random, {kernels::FarPositions::kOwn, kernels::FarPositions::kNone});
  spec.select_lag =
      PickFrom(random, {h.group_size / 4, static_cast<int32_t>(random() % (2 * h.group_size))});
  spec.select_novel = static_cast<int32_t>(random() % (h.rank + 1));
}

}  // namespace

std::vector<float> RandomFloats(int64_t count, float scale, std::mt19937& random) {
  std::normal_distribution<float> normal(0.0F, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

kernels::AttentionSpec RandomSpec(std::mt19937& random) {
  kernels::AttentionSpec spec;
  spec.num_kv_heads = PickFrom(random, {1, 2, 3});
  spec.num_heads = spec.num_kv_heads * PickFrom(random, {1, 2, 3});
  spec.head_dim = PickFrom(random, {2, 6, 16, 24, 64});
  spec.hierarchy.group_size = PickFrom(random, {1, 2, 4, 6, 8, 12});
  do {
    spec.hierarchy.rank = PickFrom(random, {1, 2, 3, 4});
  } while (spec.hierarchy.group_size % spec.hierarchy.rank != 0);
  spec.hierarchy.num_levels = PickFrom(random, {1, 2, 3, 4});
  spec.hierarchy.sink_tokens =
      static_cast<int32_t>(random() % (spec.hierarchy.group_size + 1)) * PickFrom(random, {0, 1});
  spec.downsampling = static_cast<kernels::Downsampling>(random() % 5);
  spec.share_levels =
      spec.downsampling == kernels::Downsampling::kHierarchical && PickFrom(random, {false, true});
  spec.scale_far_field = PickFrom(random, {false, true});
  spec.level_bias = PickFrom(random, {false, true});
  spec.padding = PickFrom(random, {kernels::Padding::kMasked, kernels::Padding::kZeroKeys});
  using enum kernels::PositionEmbedding;
  spec.positions = PickFrom(random, {kRope, kRope, kNone});
  spec.far_positions =
      PickFrom(random, {kernels::FarPositions::kCenter, kernels::FarPositions::kNone});
  if (spec.positions == kRope) {
    spec.rope_attention_factor = PickFrom(random, {1.0, 1.2});
  }
  if (spec.Selects()) DrawSelection(random, spec);
  if (spec.FarIsRotated() && PickFrom(random, {false, true})) {
    spec.max_distance =
        4 * spec.hierarchy.group_size + static_cast<int64_t>(random() % spec.hierarchy.Horizon());
  }
  return spec;
}

kernels::AttentionSpec RandomEncoderSpec(std::mt19937& random) {
  kernels::AttentionSpec spec = RandomSpec(random);
  while (spec.Selects()) spec = RandomSpec(random);
  spec.causal = false;
  spec.query_downsampling = PickFrom(random, {false, true});
  spec.hierarchy.sink_tokens = 0;
  spec.padding = kernels::Padding::kMasked;
  spec.max_distance = 0;
  return spec;
}

kernels::AttentionSpec RandomOpeningSpec(std::span<const int32_t> group_sizes,
                                         std::mt19937& random) {
  kernels::AttentionSpec spec = RandomSpec(random);
  kernels::Hierarchy& h = spec.hierarchy;
  h.group_size = group_sizes[random() % group_sizes.size()];
  spec.downsampling = kernels::Downsampling::kSelect;
  spec.share_levels = false;
  DrawSelection(random, spec);
  spec.max_distance = 0;
  if (spec.FarIsRotated() && PickFrom(random, {false, true, true})) {
    spec.max_distance = 4 * h.group_size + static_cast<int64_t>(random() % (6 * h.group_size));
  }
  spec.open_units = PickFrom(random, {1, 2, 3, 4, 100});
  do {
    spec.open_size = 1 + static_cast<int32_t>(random() % h.group_size);
  } while (h.group_size % spec.open_size != 0);
  return spec;
}

ReferenceAttention RandomAttention(const kernels::AttentionSpec& spec, std::mt19937& random) {
  ReferenceAttention layer;
  layer.spec = spec;
  const int64_t outputs = int64_t{spec.head_dim} * spec.hierarchy.rank;
  for (int index = 0; index < kernels::NumDownsamplingWeights(spec); ++index) {
    const bool mixes = spec.downsampling == kernels::Downsampling::kConv;
    const int64_t taps = kernels::DownsamplingInputs(spec, index + 1) * (mixes ? spec.head_dim : 1);
    const float scale = 1.0F / std::sqrt(static_cast<float>(taps));
    layer.keys.push_back(
        {RandomFloats(outputs * taps, scale, random), RandomFloats(outputs, 0.1F, random)});
    layer.values.push_back(
        {RandomFloats(outputs * taps, scale, random), RandomFloats(outputs, 0.1F, random)});
    if (!spec.query_downsampling) continue;
    layer.queries.push_back(
        {RandomFloats(outputs * taps, scale, random), RandomFloats(outputs, 0.1F, random)});
  }
  if (spec.level_bias) {
    layer.level_bias_columns = 1 + static_cast<int>(random() % spec.hierarchy.num_levels);
    layer.level_bias = RandomFloats(spec.num_heads * layer.level_bias_columns, 1.0F, random);
  }
  if (PickFrom(random, {false, true})) {
    layer.query_norm = RandomFloats(spec.head_dim, 1.0F, random);
    layer.key_norm = RandomFloats(spec.head_dim, 1.0F, random);
    layer.norm_eps = PickFrom(random, {1e-6F, 0.5F});
  }
  const bool rotates = spec.positions == kernels::PositionEmbedding::kRope;
  if (rotates && PickFrom(random, {false, true})) {
    std::uniform_real_distribution<double> factor(0.5, 9);
    for (int i = 0; i < spec.head_dim / 2; ++i) layer.rope_factors.push_back(factor(random));
  }
  return layer;
}

std::string Describe(const kernels::AttentionSpec& spec) {
  return absl::StrCat(
      "H ", spec.num_heads, " K ", spec.num_kv_heads, " d ", spec.head_dim, " m ",
      spec.hierarchy.group_size, " p ", spec.hierarchy.rank, " L ", spec.hierarchy.num_levels,
      " sinks ", spec.hierarchy.sink_tokens, " downsampling ", static_cast<int>(spec.downsampling),
      " share ", spec.share_levels, " scale ", spec.scale_far_field, " bias ", spec.level_bias,
      " padding ", static_cast<int>(spec.padding), " positions ", static_cast<int>(spec.positions),
      " far ", static_cast<int>(spec.far_positions), " lag ", spec.select_lag, " novel ",
      spec.select_novel, " distance ", spec.max_distance, " factor ", spec.rope_attention_factor,
      " opens ", spec.open_units, " of ", spec.open_size, " causal ", spec.causal,
      " asks by share ", spec.query_downsampling);
}

HostLayer::HostLayer(const ReferenceAttention& layer) : layer_(layer) {
  const int64_t outputs = int64_t{layer.spec.head_dim} * layer.spec.hierarchy.rank;
  for (const ReferenceDownsampling& one : layer.keys) {
    keys_.push_back({AsHost(one.weight, outputs), AsHost(one.bias, 1)});
  }
  for (const ReferenceDownsampling& one : layer.values) {
    values_.push_back({AsHost(one.weight, outputs), AsHost(one.bias, 1)});
  }
  for (const ReferenceDownsampling& one : layer.queries) {
    queries_.push_back({AsHost(one.weight, outputs), AsHost(one.bias, 1)});
  }
  if (!layer.level_bias.empty()) level_bias_ = AsHost(layer.level_bias, layer.spec.num_heads);
  if (layer.query_norm.empty()) return;
  query_norm_ = {kernels::NormKind::kRmsNorm, layer.norm_eps, AsHost(layer.query_norm, 1), {}};
  key_norm_ = {kernels::NormKind::kRmsNorm, layer.norm_eps, AsHost(layer.key_norm, 1), {}};
}

std::unique_ptr<kernels::AttentionWeights> PackFor(kernels::Backend& backend,
                                                   const ReferenceAttention& layer) {
  auto packed = backend.PackAttention(layer.spec, HostLayer(layer).view());
  return packed.ok() ? *std::move(packed) : nullptr;
}

}  // namespace fmaserver::testing
