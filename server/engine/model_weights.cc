#include "server/engine/model_weights.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model_loader/tensor_names.h"

namespace fmaserver::engine {
namespace {

/// Loads weights by name; the first failure is kept and reported once, at the end.
class WeightLoader {
 public:
  WeightLoader(const model::Checkpoint& checkpoint, kernels::Backend& backend)
      : checkpoint_(checkpoint), backend_(backend), config_(checkpoint.config()) {}

  absl::StatusOr<ModelWeights> Load() {
    ModelWeights weights;
    weights.embedding = Linear(model::kEmbedTokens);
    if (config_.attention.positions == kernels::PositionEmbedding::kLearned) {
      weights.positions = Linear(model::kEmbedPositions);
    }
    for (int32_t i = 0; i < config_.num_layers && status_.ok(); ++i) {
      weights.layers.push_back(Layer(i));
    }
    weights.norm = Norm(model::kFinalNorm);
    if (!config_.tie_word_embeddings) weights.lm_head = Linear(model::kLmHead);
    if (!status_.ok()) return status_;
    return weights;
  }

 private:
  LayerWeights Layer(int index) {
    const auto name = [index](std::string_view module) {
      return model::LayerModule(index, module);
    };
    LayerWeights layer;
    layer.input_norm = Norm(name(model::kInputNorm));
    layer.qkv = Stacked({name(model::kQueryProjection), name(model::kKeyProjection),
                         name(model::kValueProjection)});
    layer.attention = Attention(index);
    layer.output = Linear(name(model::kOutputProjection));
    layer.post_attention_norm = Norm(name(model::kPostAttentionNorm));
    layer.up = config_.mlp == kernels::MlpKind::kSwiglu
                   ? Stacked({name(model::kGateProjection), name(model::kUpProjection)})
                   : Linear(name(model::kUpProjection));
    layer.down = Linear(name(model::kDownProjection));
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

  std::unique_ptr<kernels::LinearWeights> Linear(std::string_view module) {
    return Stacked({std::string(module)});
  }

  /// One product for several modules of the same input.
  std::unique_ptr<kernels::LinearWeights> Stacked(const std::vector<std::string>& modules) {
    std::vector<kernels::HostLinear> parts;
    parts.reserve(modules.size());
    for (const std::string& module : modules) {
      parts.push_back({Required(model::WeightOf(module)), IfPresent(model::BiasOf(module))});
    }
    return Keep(backend_.PackLinear(parts));
  }

  std::unique_ptr<kernels::NormWeights> Norm(std::string_view module) {
    return Keep(
        backend_.PackNorm({config_.norm, config_.norm_eps, Required(model::WeightOf(module)),
                           IfPresent(model::BiasOf(module))}));
  }

  std::unique_ptr<kernels::AttentionWeights> Attention(int layer) {
    const std::vector<kernels::HostDownsampling> keys =
        Downsamplings(layer, model::kKeyDownsampling);
    const std::vector<kernels::HostDownsampling> values =
        Downsamplings(layer, model::kValueDownsampling);
    const std::string level_bias = model::LayerModule(layer, model::kLevelBias);
    return Keep(backend_.PackAttention(config_.AttentionOf(layer),
                                       {.keys = keys,
                                        .values = values,
                                        .level_bias = IfPresent(model::WeightOf(level_bias)),
                                        .query_norm = HeadNorm(layer, model::kQueryNorm),
                                        .key_norm = HeadNorm(layer, model::kKeyNorm),
                                        .rope_factors = config_.rope_factors}));
  }

  kernels::HostNorm HeadNorm(int layer, std::string_view module) const {
    return {.kind = kernels::NormKind::kRmsNorm,
            .eps = config_.norm_eps,
            .weight = IfPresent(model::WeightOf(model::LayerModule(layer, module))),
            .bias = {}};
  }

  std::vector<kernels::HostDownsampling> Downsamplings(int layer,
                                                       std::string_view keys_or_values) const {
    std::vector<kernels::HostDownsampling> weights;
    for (int i = 0; i < kernels::NumDownsamplingWeights(config_.attention); ++i) {
      const std::string module = model::DownsamplingModule(layer, keys_or_values, i);
      weights.push_back({Required(model::WeightOf(module)), Required(model::BiasOf(module))});
    }
    return weights;
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
