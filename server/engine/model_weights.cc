#include "server/engine/model_weights.h"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "base/refusal.h"
#include "base/text.h"
#include "kernels/fma/element.h"
#include "kernels/host/host_element.h"
#include "kernels/host/rounding.h"
#include "model_loader/expected_tensors.h"
#include "model_loader/tensor_names.h"

namespace fmaserver::engine {
namespace {

using kernels::WeightFormat;

/// The integers that the weight `name` is rounded to, if `type` has some. Embedding and output
/// layer, where errors of 4 bits cost most, keep 8.
std::optional<WeightFormat> BlocksOf(WeightType type, std::string_view name) {
  if (type != WeightType::kInt8 && type != WeightType::kInt4) return std::nullopt;
  const bool has_8 =
      name == model::WeightOf(model::kEmbedTokens) || name == model::WeightOf(model::kLmHead);
  return type == WeightType::kInt8 || has_8 ? WeightFormat::kInt8 : WeightFormat::kInt4;
}

/// One of those that a WeightType is about.
struct LargeTensor {
  std::string name;
  const model::TensorView& view;
};

std::vector<LargeTensor> LargeTensors(const model::Checkpoint& checkpoint) {
  std::vector<LargeTensor> large;
  for (const model::ExpectedTensor& expected : model::ExpectedTensors(checkpoint.config())) {
    if (expected.may_be_in_blocks)
      large.push_back({expected.name, checkpoint.Tensor(expected.name)});
  }
  return large;
}

kernels::HostMatrix AsMatrix(const model::TensorView& tensor) {
  const int64_t rows = tensor.shape.size() == 1 ? 1 : tensor.shape.front();
  const int64_t numbers_of_each = tensor.dtype == WeightFormat::kInt4 ? 2 : 1;
  return {.data = tensor.data,
          .format = tensor.dtype,
          .rows = rows,
          .cols = tensor.NumElements() * numbers_of_each / rows};
}

/// Bytes of a row of a plain weight once it is loaded as `type`.
int64_t LoadedRowBytes(WeightType type, const LargeTensor& tensor) {
  const kernels::HostMatrix weight = AsMatrix(tensor.view);
  const auto blocks = BlocksOf(type, tensor.name);
  if (!blocks.has_value()) return kernels::RowBytes(WeightFormat::kBF16, weight.cols);
  return kernels::RowBytes(kernels::KindFor(weight, *blocks), weight.cols);
}

absl::Status CheckType(const model::Checkpoint& checkpoint, WeightType type) {
  if (type != WeightType::kBF16) return absl::OkStatus();
  for (const auto& [name, view] : LargeTensors(checkpoint)) {
    if (!kernels::InBlocks(view.dtype)) continue;
    return Refusal("weights", Words{"bf16"},
                   Concat("as-is, int8 or int4 for this checkpoint, whose ", name, " is in ",
                          kernels::NameOf(view.dtype), " already"));
  }
  return absl::OkStatus();
}

/// Loads weights by name; the first failure is kept and reported once, at the end.
class WeightLoader {
 public:
  WeightLoader(const model::Checkpoint& checkpoint, WeightType type, kernels::Backend& backend,
               const OnLoaded& on_loaded)
      : checkpoint_(checkpoint),
        type_(type),
        backend_(backend),
        on_loaded_(on_loaded),
        config_(checkpoint.config()) {}

  absl::StatusOr<ModelWeights> Load() {
    ModelWeights weights;
    weights.embedding = Linear(model::kEmbedTokens);
    if (config_.attention.positions == kernels::PositionEmbedding::kLearned) {
      weights.positions = AsStored(model::kEmbedPositions);
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

  kernels::HostMatrix Required(const std::string& name) { return Take(checkpoint_.Tensor(name)); }

  kernels::HostMatrix IfPresent(const std::string& name) {
    const model::TensorView* tensor = checkpoint_.TensorIfPresent(name);
    return tensor == nullptr ? kernels::HostMatrix{} : Take(*tensor);
  }

  /// Each tensor is taken once, and then packed.
  kernels::HostMatrix Take(const model::TensorView& tensor) {
    taken_bytes_ += tensor.NumElements() * kernels::SizeOf(tensor.dtype);
    return AsMatrix(tensor);
  }

  std::unique_ptr<kernels::LinearWeights> Linear(std::string_view module) {
    return Stacked({std::string(module)});
  }

  std::unique_ptr<kernels::LinearWeights> AsStored(std::string_view module) {
    const kernels::HostLinear table{Required(model::WeightOf(module)), {}};
    return Keep(backend_.PackLinear({&table, 1}));
  }

  /// One product for several modules of the same input.
  std::unique_ptr<kernels::LinearWeights> Stacked(const std::vector<std::string>& modules) {
    // What the parts point to.
    std::deque<kernels::HostMatrix> of_blocks;
    std::deque<std::vector<kernels::BFloat16>> rounded;
    std::vector<kernels::HostLinear> parts;
    for (const std::string& module : modules) {
      const std::string name = model::WeightOf(module);
      kernels::HostMatrix weight = Required(name);
      if (kernels::InBlocks(weight.format)) {
        weight.scales = &of_blocks.emplace_back(Required(model::ScalesOf(name)));
        const kernels::HostMatrix minima = IfPresent(model::MinimaOf(name));
        if (minima.data != nullptr) weight.minima = &of_blocks.emplace_back(minima);
      } else if (type_ == WeightType::kBF16 && weight.format != WeightFormat::kBF16) {
        weight = RoundToBF16(weight, rounded.emplace_back());
      }
      parts.push_back({weight, IfPresent(model::BiasOf(module))});
    }
    const std::optional<WeightFormat> blocks = BlocksOf(type_, model::WeightOf(modules.front()));
    auto packed =
        blocks.has_value() ? backend_.PackQuantised(parts, *blocks) : backend_.PackLinear(parts);
    if (!packed.ok()) {
      packed = At(checkpoint_.name(), At(absl::StrJoin(modules, ", "), packed.status()));
    }
    return Keep(std::move(packed));
  }

  static kernels::HostMatrix RoundToBF16(const kernels::HostMatrix& weight,
                                         std::vector<kernels::BFloat16>& rounded) {
    const int64_t numbers = weight.rows * weight.cols;
    rounded.reserve(static_cast<size_t>(numbers));
    for (int64_t i = 0; i < numbers; ++i) {
      rounded.push_back(kernels::FromFloat<kernels::BFloat16>(kernels::ElementAsFloat(weight, i)));
    }
    return {.data = reinterpret_cast<const std::byte*>(rounded.data()),
            .format = WeightFormat::kBF16,
            .rows = weight.rows,
            .cols = weight.cols};
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
    std::vector<kernels::HostDownsampling> queries;
    if (config_.attention.query_downsampling) {
      queries = Downsamplings(layer, model::kQueryDownsampling);
    }
    const std::string level_bias = model::LayerModule(layer, model::kLevelBias);
    return Keep(backend_.PackAttention(config_.AttentionOf(layer),
                                       {.keys = keys,
                                        .values = values,
                                        .queries = queries,
                                        .level_bias = IfPresent(model::WeightOf(level_bias)),
                                        .query_norm = HeadNorm(layer, model::kQueryNorm),
                                        .key_norm = HeadNorm(layer, model::kKeyNorm),
                                        .rope_factors = config_.rope_factors}));
  }

  kernels::HostNorm HeadNorm(int layer, std::string_view module) {
    return {.kind = kernels::NormKind::kRmsNorm,
            .eps = config_.norm_eps,
            .weight = IfPresent(model::WeightOf(model::LayerModule(layer, module))),
            .bias = {}};
  }

  std::vector<kernels::HostDownsampling> Downsamplings(int layer, std::string_view module_of_kind) {
    std::vector<kernels::HostDownsampling> weights;
    for (int i = 0; i < kernels::NumDownsamplingWeights(config_.attention); ++i) {
      const std::string module = model::DownsamplingModule(layer, module_of_kind, i);
      weights.push_back({Required(model::WeightOf(module)), Required(model::BiasOf(module))});
    }
    return weights;
  }

  template <typename T>
  std::unique_ptr<T> Keep(absl::StatusOr<std::unique_ptr<T>> weights) {
    status_.Update(weights.status());
    if (!weights.ok()) return nullptr;
    if (on_loaded_ != nullptr) on_loaded_(taken_bytes_);
    return *std::move(weights);
  }

  const model::Checkpoint& checkpoint_;
  const WeightType type_;
  kernels::Backend& backend_;
  const OnLoaded& on_loaded_;
  const model::ModelConfig& config_;
  int64_t taken_bytes_ = 0;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<ModelWeights> LoadWeights(const model::Checkpoint& checkpoint, WeightType type,
                                         kernels::Backend& backend, const OnLoaded& on_loaded) {
  if (absl::Status status = CheckType(checkpoint, type); !status.ok()) return status;
  return WeightLoader(checkpoint, type, backend, on_loaded).Load();
}

bool Rounds(const model::Checkpoint& checkpoint, WeightType type) {
  if (type == WeightType::kAsStored) return false;
  const std::vector<LargeTensor> large = LargeTensors(checkpoint);
  return std::ranges::any_of(large, [type](const LargeTensor& tensor) {
    const WeightFormat format = tensor.view.dtype;
    return !kernels::InBlocks(format) &&
           !(type == WeightType::kBF16 && format == WeightFormat::kBF16);
  });
}

int64_t LoadedBytes(const model::Checkpoint& checkpoint, WeightType type) {
  int64_t bytes = checkpoint.WeightBytes();
  if (type == WeightType::kAsStored) return bytes;
  for (const LargeTensor& tensor : LargeTensors(checkpoint)) {
    const model::TensorView& view = tensor.view;
    if (kernels::InBlocks(view.dtype)) continue;
    bytes += view.shape.front() * LoadedRowBytes(type, tensor);
    bytes -= view.NumElements() * kernels::SizeOf(view.dtype);
  }
  return bytes;
}

}  // namespace fmaserver::engine
