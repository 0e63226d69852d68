#include "model_loader/expected_tensors.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/text.h"
#include "model_loader/tensor_names.h"

namespace fmaserver::model {
namespace {

/// Collects the tensors of one model in order.
class Lister {
 public:
  explicit Lister(const ModelConfig& config) : config_(config) {}

  std::vector<ExpectedTensor> List() {
    const int64_t hidden = config_.hidden_size;
    AddLarge(kEmbedTokens, config_.vocab_size, hidden);
    if (config_.attention.positions == kernels::PositionEmbedding::kLearned) {
      Add(WeightOf(kEmbedPositions), {config_.max_position_embeddings, hidden});
    }
    for (int layer = 0; layer < config_.num_layers; ++layer) AddLayer(layer);
    AddNorm(kFinalNorm);
    if (!config_.tie_word_embeddings) AddLarge(kLmHead, config_.vocab_size, hidden);
    return std::move(tensors_);
  }

 private:
  void Add(std::string name, std::vector<int64_t> shape, bool required = true) {
    tensors_.push_back({.name = std::move(name), .shape = std::move(shape), .required = required});
  }

  void AddLarge(std::string_view module, int64_t out, int64_t in) {
    Add(WeightOf(module), {out, in});
    tensors_.back().may_be_in_blocks = true;
  }

  void AddLinear(std::string_view module, int64_t out, int64_t in, bool bias) {
    AddLarge(module, out, in);
    if (bias) Add(BiasOf(module), {out});
  }

  void AddNorm(std::string_view module) {
    Add(WeightOf(module), {config_.hidden_size});
    if (config_.norm == kernels::NormKind::kRmsNorm) return;
    Add(BiasOf(module), {config_.hidden_size}, /*required=*/false);
  }

  void AddLayer(int layer) {
    AddNorm(LayerModule(layer, kInputNorm));
    AddAttention(layer);
    AddNorm(LayerModule(layer, kPostAttentionNorm));
    AddMlp(layer);
  }

  void AddAttention(int layer) {
    const kernels::AttentionSpec& spec = config_.attention;
    const int64_t query_columns = int64_t{spec.num_heads} * spec.head_dim;
    const int64_t kv_columns = int64_t{spec.num_kv_heads} * spec.head_dim;
    const int64_t hidden = config_.hidden_size;
    const bool bias = config_.attention_bias;
    AddLinear(LayerModule(layer, kQueryProjection), query_columns, hidden, bias);
    AddLinear(LayerModule(layer, kKeyProjection), kv_columns, hidden, bias);
    AddLinear(LayerModule(layer, kValueProjection), kv_columns, hidden, bias);
    if (config_.qk_norm) {
      Add(WeightOf(LayerModule(layer, kQueryNorm)), {spec.head_dim});
      Add(WeightOf(LayerModule(layer, kKeyNorm)), {spec.head_dim});
    }
    AddDownsampling(layer, kKeyDownsampling);
    AddDownsampling(layer, kValueDownsampling);
    if (spec.query_downsampling) AddDownsampling(layer, kQueryDownsampling);
    if (spec.level_bias) {
      Add(WeightOf(LayerModule(layer, kLevelBias)), {spec.num_heads, spec.hierarchy.num_levels});
      tensors_.back().last_is_maximum = true;
    }
    AddLinear(LayerModule(layer, kOutputProjection), hidden, query_columns, bias);
  }

  void AddDownsampling(int layer, std::string_view module_of_kind) {
    const kernels::AttentionSpec& spec = config_.attention;
    const int64_t outputs = int64_t{spec.head_dim} * spec.hierarchy.rank;
    const int64_t channels = spec.downsampling == kernels::Downsampling::kConv ? spec.head_dim : 1;
    const int needed = kernels::NumDownsamplingWeights(spec);
    // A model with shared levels may be served with one level and still bring the merge weights.
    const int allowed = spec.share_levels ? 2 : needed;
    for (int index = 0; index < allowed; ++index) {
      const std::string module = DownsamplingModule(layer, module_of_kind, index);
      Add(WeightOf(module), {outputs, channels, kernels::DownsamplingInputs(spec, index + 1)},
          index < needed);
      Add(BiasOf(module), {outputs}, index < needed);
    }
  }

  void AddMlp(int layer) {
    const int64_t hidden = config_.hidden_size;
    const int64_t inner = config_.intermediate_size;
    const bool bias = config_.mlp_bias;
    if (config_.mlp == kernels::MlpKind::kSwiglu) {
      AddLinear(LayerModule(layer, kGateProjection), inner, hidden, bias);
    }
    AddLinear(LayerModule(layer, kUpProjection), inner, hidden, bias);
    AddLinear(LayerModule(layer, kDownProjection), hidden, inner, bias);
  }

  const ModelConfig& config_;
  std::vector<ExpectedTensor> tensors_;
};

std::string WhyNoDownsampling(const kernels::AttentionSpec& spec) {
  if (spec.downsampling == kernels::Downsampling::kAverage)
    return "\"fma.downsampling\" is \"average\"";
  if (spec.Selects()) return "\"fma.downsampling\" is \"select\"";
  return Concat("there are ", kernels::NumDownsamplingWeights(spec),
                " of them: \"fma.num_levels\" is ", spec.hierarchy.num_levels,
                " and \"fma.share_levels\" is ", spec.share_levels ? "true" : "false");
}

bool NamesMissingLayer(const ModelConfig& config, std::string_view name) {
  const std::vector<absl::string_view> parts = absl::StrSplit(ToAbsl(name), '.');
  int layer = 0;
  return parts.size() > 3 && parts[0] == "model" && parts[1] == "layers" &&
         absl::SimpleAtoi(parts[2], &layer) && layer >= config.num_layers;
}

}  // namespace

bool ExpectedTensor::Fits(const std::vector<int64_t>& found) const {
  if (!last_is_maximum) return found == shape;
  return found.size() == shape.size() &&
         std::equal(shape.begin(), shape.end() - 1, found.begin()) && found.back() >= 1 &&
         found.back() <= shape.back();
}

std::string ExpectedTensor::AllowedShape() const {
  if (!last_is_maximum) return Concat("[", absl::StrJoin(shape, ", "), "]");
  const std::string leading = absl::StrJoin(shape.begin(), shape.end() - 1, ", ");
  return Concat("[", leading, ", 1..", shape.back(), "]");
}

std::vector<ExpectedTensor> ExpectedTensors(const ModelConfig& config) {
  return Lister(config).List();
}

std::string WhyUnexpected(const ModelConfig& config, std::string_view name) {
  const auto has = [name](std::string_view part) {
    return name.find(part) != std::string_view::npos;
  };
  const bool is_bias = name.ends_with(".bias");
  if (name == WeightOf(kLmHead) && config.tie_word_embeddings)
    return "\"tie_word_embeddings\" is true";
  if (name == WeightOf(kEmbedPositions)) return "\"position_embedding\" is not \"learned\"";
  if (NamesMissingLayer(config, name)) {
    return Concat("\"num_hidden_layers\" is ", config.num_layers);
  }
  if (has(kLevelBias) && !config.attention.level_bias) {
    return "\"fma.level_bias\" is false";
  }
  if (has(kQueryDownsampling) && !config.attention.query_downsampling) {
    return "\"fma.query_downsampling\" is false";
  }
  if (has("_downsample.")) return WhyNoDownsampling(config.attention);
  if (has(kGateProjection) && config.mlp != kernels::MlpKind::kSwiglu)
    return "\"mlp\" is not \"swiglu\"";
  const bool norms_heads = has(kQueryNorm) || has(kKeyNorm);
  if (norms_heads && !config.qk_norm) return "\"qk_norm\" is false";
  if (is_bias && norms_heads) return "norms of queries and keys have no biases";
  if (is_bias && has("norm.")) return "\"norm\" is \"rmsnorm\"";
  if (is_bias && has(".self_attn.") && !config.attention_bias) return "\"attention_bias\" is false";
  if (is_bias && has(".mlp.") && !config.mlp_bias) return "\"mlp_bias\" is false";
  if (IsOfBlocks(name)) return "scales belong to weights of I8 or U8, minima to weights of U8";
  return "no model has a tensor of this name";
}

}  // namespace fmaserver::model
