#include "server/engine/model_weights.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace fmaserver::engine {
namespace {

/// Loads weights by name; the first failure is kept and reported once, at the end.
class WeightLoader {
 public:
  WeightLoader(const model::Checkpoint& checkpoint, kernels::Backend& backend)
      : checkpoint_(checkpoint), backend_(backend), config_(checkpoint.config()) {}

  absl::StatusOr<ModelWeights> Load() {
    ModelWeights weights;
    weights.embedding = Linear({"model.embed_tokens"});
    if (config_.attention.positions == kernels::PositionEmbedding::kLearned) {
      weights.positions = Linear({"model.embed_positions"});
    }
    for (int32_t i = 0; i < config_.num_layers && status_.ok(); ++i) {
      weights.layers.push_back(Layer(absl::StrCat("model.layers.", i, ".")));
    }
    weights.norm = Norm("model.norm");
    if (!config_.tie_word_embeddings) weights.lm_head = Linear({"lm_head"});
    if (!status_.ok()) return status_;
    return weights;
  }

 private:
  LayerWeights Layer(const std::string& prefix) {
    const std::string attention = prefix + "self_attn.";
    const std::string mlp = prefix + "mlp.";
    LayerWeights layer;
    layer.input_norm = Norm(prefix + "input_layernorm");
    layer.qkv = Linear({attention + "q_proj", attention + "k_proj", attention + "v_proj"});
    layer.attention = Attention(attention);
    layer.output = Linear({attention + "o_proj"});
    layer.post_attention_norm = Norm(prefix + "post_attention_layernorm");
    layer.up = config_.mlp == kernels::MlpKind::kSwiglu
                   ? Linear({mlp + "gate_proj", mlp + "up_proj"})
                   : Linear({mlp + "up_proj"});
    layer.down = Linear({mlp + "down_proj"});
    return layer;
  }

  static kernels::HostMatrix AsMatrix(const model::TensorView& tensor) {
    const int64_t rows = tensor.shape.size() == 1 ? 1 : tensor.shape.front();
    return {.data = tensor.data,
            .format = tensor.dtype,
            .rows = rows,
            .cols = tensor.NumElements() / rows};
  }

  kernels::HostMatrix Required(const std::string& name) const {
    return AsMatrix(checkpoint_.Tensor(name));
  }

  kernels::HostMatrix IfPresent(const std::string& name) const {
    const model::TensorView* tensor = checkpoint_.TensorIfPresent(name);
    return tensor == nullptr ? kernels::HostMatrix{} : AsMatrix(*tensor);
  }

  std::unique_ptr<kernels::LinearWeights> Linear(const std::vector<std::string>& names) {
    std::vector<kernels::HostLinear> parts;
    parts.reserve(names.size());
    for (const std::string& name : names) {
      parts.push_back({Required(name + ".weight"), IfPresent(name + ".bias")});
    }
    return Keep(backend_.PackLinear(parts));
  }

  std::unique_ptr<kernels::NormWeights> Norm(const std::string& name) {
    return Keep(backend_.PackNorm(
        {config_.norm, config_.norm_eps, Required(name + ".weight"), IfPresent(name + ".bias")}));
  }

  std::unique_ptr<kernels::AttentionWeights> Attention(const std::string& prefix) {
    std::vector<kernels::HostDownsampling> keys;
    std::vector<kernels::HostDownsampling> values;
    for (int i = 0; i < kernels::NumDownsamplingWeights(config_.attention); ++i) {
      keys.push_back(Downsampling(absl::StrCat(prefix, "k_downsample.", i)));
      values.push_back(Downsampling(absl::StrCat(prefix, "v_downsample.", i)));
    }
    return Keep(backend_.PackAttention(config_.attention,
                                       {keys, values, IfPresent(prefix + "level_bias.weight")}));
  }

  kernels::HostDownsampling Downsampling(const std::string& name) const {
    return {Required(name + ".weight"), Required(name + ".bias")};
  }

  template <typename T>
  std::unique_ptr<T> Keep(absl::StatusOr<std::unique_ptr<T>> weights) {
    if (weights.ok()) return *std::move(weights);
    status_.Update(weights.status());
    return nullptr;
  }

  const model::Checkpoint& checkpoint_;
  kernels::Backend& backend_;
  const model::ModelConfig& config_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<ModelWeights> LoadWeights(const model::Checkpoint& checkpoint,
                                         kernels::Backend& backend) {
  return WeightLoader(checkpoint, backend).Load();
}

}  // namespace fmaserver::engine
