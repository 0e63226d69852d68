#include "model_loader/model_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "base/text.h"
#include "model_loader/config_reader.h"
#include "model_loader/fma_config.h"
#include "model_loader/tokenizer.h"

namespace fmaserver::model {
namespace {

using nlohmann::json;

constexpr int64_t kMaxVocabSize = int64_t{1} << 24;
constexpr int64_t kMaxHiddenSize = int64_t{1} << 16;
constexpr int64_t kMaxIntermediateSize = int64_t{1} << 20;
constexpr int64_t kMaxPositions = int64_t{1} << 40;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxHeads = 1024;
constexpr int64_t kMaxHeadDim = 1024;

constexpr std::string_view kDecoder = "FmaForCausalLM";
constexpr std::string_view kEncoder = "FmaForMaskedLM";

constexpr std::array<Choice<kernels::PositionEmbedding>, 3> kPositionEmbeddings = {{
    {"learned", kernels::PositionEmbedding::kLearned},
    {"rope", kernels::PositionEmbedding::kRope},
    {"none", kernels::PositionEmbedding::kNone},
}};
constexpr std::array<Choice<kernels::NormKind>, 2> kNorms = {{
    {"layernorm", kernels::NormKind::kLayerNorm},
    {"rmsnorm", kernels::NormKind::kRmsNorm},
}};
constexpr std::array<Choice<kernels::MlpKind>, 3> kMlps = {{
    {"gelu", kernels::MlpKind::kGelu},
    {"gelu_tanh", kernels::MlpKind::kGeluTanh},
    {"swiglu", kernels::MlpKind::kSwiglu},
}};
constexpr std::array<Choice<TokenizerKind>, 1> kTokenizers = {{{"bytes", TokenizerKind::kBytes}}};

// Keys by which other models change the mathematics in ways that this one does not have. Ignoring
// one would serve another model than the file describes.
constexpr std::array<std::string_view, 18> kForeignMaths = {
    "alibi",
    "attention_multiplier",
    "attn_logit_softcapping",
    "embedding_multiplier",
    "final_logit_softcapping",
    "layer_types",
    "logits_scaling",
    "num_experts",
    "num_local_experts",
    "parallel_residual",
    "partial_rotary_factor",
    "quantization_config",
    "query_pre_attn_scalar",
    "residual_multiplier",
    "rope_parameters",
    "rope_scaling",
    "sliding_window",
    "use_sliding_window",
};

void CheckModelType(ConfigReader& reader) {
  const json* type = reader.Find("model_type");
  if (type == nullptr || *type != "fma") {
    reader.Refuse("model_type", type == nullptr ? "missing" : Excerpt(*type), "\"fma\"");
  }
}

/// The architecture must be that of the attention.
void CheckArchitecture(ConfigReader& reader, bool causal) {
  const json* list = reader.Find("architectures");
  if (list == nullptr) return;
  const std::string_view name = causal ? kDecoder : kEncoder;
  if (list->is_array() && std::find(list->begin(), list->end(), name) != list->end()) return;
  reader.Refuse(
      "architectures", Excerpt(*list),
      Concat("a list with \"", name, "\", because \"fma.causal\" is ", causal ? "true" : "false"));
}

/// Of an encoder, which has read `fma` already.
void ReadMaskToken(ConfigReader& reader, ModelConfig& config) {
  if (reader.Find("mask_token_id") == nullptr) return;
  config.mask_token_id = reader.Integer32("mask_token_id", {0, config.vocab_size - 1});
}

void ReadSizes(ConfigReader& reader, ModelConfig& config) {
  config.vocab_size = reader.Integer("vocab_size", {1, kMaxVocabSize});
  config.hidden_size = reader.Integer("hidden_size", {1, kMaxHiddenSize});
  config.intermediate_size = reader.Integer("intermediate_size", {1, kMaxIntermediateSize});
  config.num_layers = reader.Integer32("num_hidden_layers", {1, kMaxLayers});
  config.max_position_embeddings = reader.Integer("max_position_embeddings", {1, kMaxPositions});
}

void ReadHeads(ConfigReader& reader, const ModelConfig& config, kernels::AttentionSpec& spec) {
  spec.num_heads = reader.Integer32("num_attention_heads", {1, kMaxHeads});
  spec.num_kv_heads = reader.Integer32("num_key_value_heads", {1, kMaxHeads}, spec.num_heads);
  if (spec.num_heads % spec.num_kv_heads != 0) {
    reader.Refuse("num_key_value_heads", Concat(spec.num_kv_heads),
                  Concat("a divisor of \"num_attention_heads\" (", spec.num_heads, ")"));
  }
  if (reader.Find("head_dim") == nullptr && config.hidden_size % spec.num_heads != 0) {
    reader.Refuse("head_dim", "missing",
                  Concat("an integer; \"num_attention_heads\" (", spec.num_heads,
                         ") does not divide \"hidden_size\" (", config.hidden_size, ")"));
  }
  const int64_t share = config.hidden_size / spec.num_heads;
  spec.head_dim = reader.Integer32("head_dim", {1, kMaxHeadDim}, share);
  if (spec.head_dim > kMaxHeadDim) {
    reader.Refuse("head_dim", Concat(share, " (\"hidden_size\" / \"num_attention_heads\")"),
                  Concat("an integer from 1 to ", kMaxHeadDim));
  }
}

void ReadPositions(ConfigReader& reader, kernels::AttentionSpec& spec) {
  spec.positions = reader.OneOf("position_embedding", kPositionEmbeddings);
  spec.rope_theta = reader.PositiveNumber("rope_theta", 10000.0);
  if (spec.positions == kernels::PositionEmbedding::kRope && spec.head_dim % 2 != 0) {
    reader.Refuse("head_dim", Concat(spec.head_dim),
                  "an even number with \"position_embedding\": \"rope\"");
  }
}

/// What only models with rotary positions have; of others its keys may say that they are off.
void ReadRope(ConfigReader& reader, ModelConfig& config) {
  kernels::AttentionSpec& spec = config.attention;
  if (spec.positions != kernels::PositionEmbedding::kRope) {
    const std::array<std::pair<std::string_view, json>, 3> off = {
        {{"layers_without_rope", json::array()},
         {"rope_attention_factor", 1},
         {"rope_factors", nullptr}}};
    for (const auto& [key, allowed] : off) {
      const json* value = reader.Find(key);
      if (value == nullptr || *value == allowed) continue;
      reader.Refuse(key, Excerpt(*value),
                    Concat(allowed.dump(), " unless \"position_embedding\" is \"rope\""));
    }
    return;
  }
  config.rope_factors = reader.PositiveNumbers("rope_factors", spec.head_dim / 2);
  config.layers_without_rope = reader.Ascending("layers_without_rope", {0, config.num_layers - 1});
  const double factor = reader.PositiveNumber("rope_attention_factor", 1.0);
  const auto square = static_cast<float>(factor * factor);
  if (!(square > 0.0F && std::isfinite(square))) {
    reader.Refuse("rope_attention_factor", Concat(factor),
                  "a number whose square is a finite float32 above 0");
  }
  spec.rope_attention_factor = factor;
}

void ReadBlocks(ConfigReader& reader, ModelConfig& config) {
  config.norm = reader.OneOf("norm", kNorms);
  const double norm_eps = reader.PositiveNumber("norm_eps");
  config.norm_eps = static_cast<float>(norm_eps);
  if (!(config.norm_eps > 0.0F && std::isfinite(config.norm_eps))) {
    reader.Refuse("norm_eps", Concat(norm_eps), "a finite float32 above 0");
  }
  config.mlp = reader.OneOf("mlp", kMlps);
  config.attention_bias = reader.Boolean("attention_bias", false);
  config.qk_norm = reader.Boolean("qk_norm", false);
  config.mlp_bias = reader.Boolean("mlp_bias", false);
  config.tie_word_embeddings = reader.Boolean("tie_word_embeddings", false);
}

void ReadTokens(ConfigReader& reader, ModelConfig& config) {
  config.bos_token_ids = reader.TokenIds("bos_token_id", config.vocab_size);
  config.eos_token_ids = reader.TokenIds("eos_token_id", config.vocab_size);
  config.tokenizer = reader.OneOf("tokenizer", kTokenizers, TokenizerKind::kFile);
  if (config.tokenizer == TokenizerKind::kBytes && config.vocab_size < kByteValues) {
    reader.Refuse("vocab_size", Concat(config.vocab_size),
                  Concat("at least ", kByteValues, " with \"tokenizer\": \"bytes\""));
  }
}

void RefuseForeignMaths(ConfigReader& reader) {
  for (const std::string_view key : kForeignMaths) {
    const json* value = reader.Find(key);
    if (value == nullptr || *value == false) continue;
    reader.Refuse(key, Excerpt(*value), "null or false: no model of this kind has it");
  }
}

}  // namespace

kernels::AttentionSpec ModelConfig::AttentionOf(int32_t layer) const {
  return std::ranges::binary_search(layers_without_rope, layer) ? attention.WithoutRope()
                                                                : attention;
}

int64_t ModelConfig::MaxSequenceLength() const {
  return attention.positions == kernels::PositionEmbedding::kLearned
             ? max_position_embeddings
             : std::numeric_limits<int64_t>::max();
}

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json_text, std::string_view origin) {
  const absl::StatusOr<json> object = ParseJsonObject(json_text, origin);
  if (!object.ok()) return object.status();

  ModelConfig config;
  ConfigReader reader(*object, origin, "");
  CheckModelType(reader);
  ReadSizes(reader, config);
  ReadHeads(reader, config, config.attention);
  ReadPositions(reader, config.attention);
  ReadRope(reader, config);
  ReadBlocks(reader, config);
  ReadTokens(reader, config);
  RefuseForeignMaths(reader);
  const json* fma = reader.Find("fma");
  if (fma == nullptr || !fma->is_object()) {
    reader.Refuse("fma", fma == nullptr ? "missing" : Excerpt(*fma), "an object");
  }
  if (!reader.status().ok()) return reader.status();

  ConfigReader fma_reader(*fma, origin, "fma.");
  ReadFma(fma_reader, config.attention);
  if (!fma_reader.status().ok()) return fma_reader.status();
  CheckArchitecture(reader, config.attention.causal);
  if (!config.attention.causal) ReadMaskToken(reader, config);
  if (!reader.status().ok()) return reader.status();
  return config;
}

}  // namespace fmaserver::model
