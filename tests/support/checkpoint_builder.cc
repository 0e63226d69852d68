#include "tests/support/checkpoint_builder.h"

#include <cmath>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/text.h"
#include "model_loader/expected_tensors.h"
#include "model_loader/tensor_names.h"
#include "nlohmann/json.hpp"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

using nlohmann::json;

std::string_view NameOf(kernels::Downsampling kind) {
  switch (kind) {
    case kernels::Downsampling::kGroupedConv:
      return "grouped_conv";
    case kernels::Downsampling::kConv:
      return "conv";
    case kernels::Downsampling::kAverage:
      return "average";
    case kernels::Downsampling::kHierarchical:
      return "hierarchical";
    case kernels::Downsampling::kSelect:
      return "select";
  }
  return "";
}

std::string_view NameOf(kernels::FarPositions kind) {
  switch (kind) {
    case kernels::FarPositions::kCenter:
      return "center";
    case kernels::FarPositions::kNone:
      return "none";
    case kernels::FarPositions::kOwn:
      return "own";
  }
  return "";
}

std::string_view NameOf(kernels::PositionEmbedding kind) {
  switch (kind) {
    case kernels::PositionEmbedding::kLearned:
      return "learned";
    case kernels::PositionEmbedding::kRope:
      return "rope";
    case kernels::PositionEmbedding::kNone:
      return "none";
  }
  return "";
}

std::string_view NameOf(kernels::MlpKind kind) {
  switch (kind) {
    case kernels::MlpKind::kGelu:
      return "gelu";
    case kernels::MlpKind::kGeluTanh:
      return "gelu_tanh";
    case kernels::MlpKind::kSwiglu:
      return "swiglu";
  }
  return "";
}

json FmaJson(const kernels::AttentionSpec& spec) {
  json fma = {
      {"group_size", spec.hierarchy.group_size},
      {"rank", spec.hierarchy.rank},
      {"num_levels", spec.hierarchy.num_levels},
      {"sink_tokens", spec.hierarchy.sink_tokens},
      {"downsampling", NameOf(spec.downsampling)},
      {"share_levels", spec.share_levels},
      {"scale_far_field", spec.scale_far_field},
      {"level_bias", spec.level_bias},
      {"padding", spec.padding == kernels::Padding::kMasked ? "masked" : "zero_keys"},
  };
  if (spec.positions == kernels::PositionEmbedding::kRope) {
    fma["far_positions"] = NameOf(spec.far_positions);
  }
  if (spec.Selects()) {
    fma["select_lag"] = spec.select_lag;
    fma["select_novel"] = spec.select_novel;
  }
  if (spec.max_distance > 0) fma["max_distance"] = spec.max_distance;
  if (spec.Opens()) {
    fma["open_units"] = spec.open_units;
    fma["open_size"] = spec.open_size;
  }
  if (!spec.causal) {
    fma["causal"] = false;
    fma["query_downsampling"] = spec.query_downsampling;
  }
  return fma;
}

/// splitmix64: the same numbers with every standard library.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  /// Mean 0, variance 1, within about +-1.73.
  float Next() {
    state_ += 0x9E3779B97F4A7C15;
    uint64_t z = state_;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    z ^= z >> 31;
    const double uniform = static_cast<double>(z >> 11) * 0x1p-53;
    return static_cast<float>((2.0 * uniform - 1.0) * std::sqrt(3.0));
  }

 private:
  uint64_t state_;
};

struct Distribution {
  float mean = 0.0F;
  float deviation = 1.0F;
};

Distribution DistributionOf(const model::ExpectedTensor& tensor) {
  const std::string_view name = tensor.name;
  if (name.ends_with("norm.weight")) return {.mean = 1.0F, .deviation = 0.2F};
  if (name.ends_with(".bias")) return {.deviation = 0.2F};
  if (name == model::WeightOf(model::kEmbedTokens) ||
      name == model::WeightOf(model::kEmbedPositions)) {
    return {.deviation = 0.5F};
  }
  if (name.ends_with("level_bias.weight")) return {.mean = -0.5F, .deviation = 1.0F};
  int64_t inputs = 1;
  for (size_t i = 1; i < tensor.shape.size(); ++i) inputs *= tensor.shape[i];
  return {.deviation = 1.0F / std::sqrt(static_cast<float>(inputs))};
}

StoredTensor RandomTensor(const model::ExpectedTensor& expected, kernels::WeightFormat dtype,
                          Random& random) {
  StoredTensor tensor{.name = expected.name, .dtype = dtype, .shape = expected.shape, .bytes = {}};
  int64_t elements = 1;
  for (const int64_t extent : expected.shape) elements *= extent;
  const Distribution distribution = DistributionOf(expected);
  for (int64_t i = 0; i < elements; ++i) {
    const float value = distribution.mean + distribution.deviation * random.Next();
    AppendElement(value, dtype, tensor.bytes);
  }
  return tensor;
}

}  // namespace

model::ModelConfig TinyConfig() {
  model::ModelConfig config;
  config.vocab_size = 11;
  config.hidden_size = 6;
  config.intermediate_size = 10;
  config.num_layers = 2;
  config.max_position_embeddings = 32;
  config.attention.num_heads = 4;
  config.attention.num_kv_heads = 2;
  config.attention.head_dim = 4;
  config.attention.hierarchy = {.group_size = 4, .rank = 2, .num_levels = 3, .sink_tokens = 0};
  return config;
}

std::string ConfigJson(const model::ModelConfig& config) {
  const kernels::AttentionSpec& spec = config.attention;
  json object = {
      {"architectures", {spec.causal ? "FmaForCausalLM" : "FmaForMaskedLM"}},
      {"model_type", "fma"},
      {"vocab_size", config.vocab_size},
      {"hidden_size", config.hidden_size},
      {"intermediate_size", config.intermediate_size},
      {"num_hidden_layers", config.num_layers},
      {"num_attention_heads", spec.num_heads},
      {"num_key_value_heads", spec.num_kv_heads},
      {"head_dim", spec.head_dim},
      {"max_position_embeddings", config.max_position_embeddings},
      {"position_embedding", NameOf(spec.positions)},
      {"rope_theta", spec.rope_theta},
      {"norm", config.norm == kernels::NormKind::kLayerNorm ? "layernorm" : "rmsnorm"},
      {"norm_eps", config.norm_eps},
      {"mlp", NameOf(config.mlp)},
      {"attention_bias", config.attention_bias},
      {"qk_norm", config.qk_norm},
      {"mlp_bias", config.mlp_bias},
      {"tie_word_embeddings", config.tie_word_embeddings},
      {"bos_token_id", config.bos_token_ids},
      {"eos_token_id", config.eos_token_ids},
      {"fma", FmaJson(spec)},
  };
  if (spec.positions == kernels::PositionEmbedding::kRope) {
    object["rope_attention_factor"] = spec.rope_attention_factor;
    object["layers_without_rope"] = config.layers_without_rope;
    if (!config.rope_factors.empty()) object["rope_factors"] = config.rope_factors;
  }
  if (config.mask_token_id.has_value()) object["mask_token_id"] = *config.mask_token_id;
  if (config.tokenizer == model::TokenizerKind::kBytes) object["tokenizer"] = "bytes";
  return object.dump(1);
}

absl::Status WriteRandomCheckpoint(const model::ModelConfig& config, uint64_t seed,
                                   kernels::WeightFormat dtype, const std::filesystem::path& folder,
                                   int level_bias_columns) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  Random random(seed);
  std::vector<StoredTensor> tensors;
  for (model::ExpectedTensor& expected : model::ExpectedTensors(config)) {
    if (expected.last_is_maximum) expected.shape.back() = level_bias_columns;
    tensors.push_back(RandomTensor(expected, dtype, random));
  }
  if (!WriteFile(folder / "config.json", ConfigJson(config)) ||
      !WriteFile(folder / "model.safetensors", SafetensorsImage(tensors))) {
    return absl::UnavailableError(Concat("cannot write into ", folder.string()));
  }
  return absl::OkStatus();
}

}  // namespace fmaserver::testing
