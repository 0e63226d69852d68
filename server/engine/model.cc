#include "server/engine/model.h"

#include <array>
#include <numeric>
#include <utility>

#include "absl/status/status.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::engine {
namespace {

constexpr int32_t kMaxRows = 1 << 16;
constexpr size_t kActivations = 8;

/// In the order of the members in the header.
using ActivationColumns = std::array<int64_t, kActivations>;

ActivationColumns ColumnsOf(const model::ModelConfig& config) {
  const kernels::AttentionSpec& attention = config.attention;
  const int64_t up = config.intermediate_size * (config.mlp == kernels::MlpKind::kSwiglu ? 2 : 1);
  return {config.hidden_size,
          config.hidden_size,
          attention.QkvColumns(),
          int64_t{attention.num_heads} * attention.head_dim,
          up,
          config.intermediate_size,
          config.hidden_size,
          config.vocab_size};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> Model::Load(const model::Checkpoint& checkpoint,
                                                   std::shared_ptr<kernels::Backend> backend,
                                                   ModelOptions options,
                                                   const OnLoaded& on_loaded) {
  if (!checkpoint.config().attention.causal) {
    return Refusal(At(checkpoint.name(), "architectures"),
                   Words{"FmaForMaskedLM, an encoder, which generates nothing"}, "FmaForCausalLM");
  }
  if (options.max_rows < 1 || options.max_rows > kMaxRows) {
    return Refusal("max_rows", options.max_rows, FromTo(1, kMaxRows));
  }
  const kernels::CacheType archive_type = options.archive_type.value_or(options.cache_type);
  if (!kernels::CanArchive(options.cache_type, archive_type)) {
    return Refusal("archive dtype", kernels::NameOf(archive_type),
                   Concat("as-is or int8 beside a cache in ", kernels::NameOf(options.cache_type)));
  }
  absl::StatusOr<ModelWeights> weights =
      LoadWeights(checkpoint, options.weights, *backend, on_loaded);
  if (!weights.ok()) return weights.status();
  std::unique_ptr<Model> model(
      new Model(checkpoint, std::move(backend), options, *std::move(weights)));
  if (absl::Status status = model->AllocateActivations(); !status.ok()) return status;
  return model;
}

Model::Model(const model::Checkpoint& checkpoint, std::shared_ptr<kernels::Backend> backend,
             ModelOptions options, ModelWeights weights)
    : name_(checkpoint.name()),
      config_(checkpoint.config()),
      num_parameters_(checkpoint.NumParameters()),
      weight_bytes_(LoadedBytes(checkpoint, options.weights)),
      backend_(std::move(backend)),
      options_(options),
      layout_(LayoutOf(config_, options)),
      archive_layout_(layout_.Archive(config_.attention)),
      weights_(std::move(weights)) {}

absl::StatusOr<kernels::Matrix> Model::Activation(int64_t cols) {
  const int64_t bytes = int64_t{options_.max_rows} * cols * static_cast<int64_t>(sizeof(float));
  absl::StatusOr<std::unique_ptr<kernels::Buffer>> buffer = backend_->Allocate(bytes);
  if (!buffer.ok()) return buffer.status();
  buffers_.push_back(*std::move(buffer));
  return kernels::Matrix{reinterpret_cast<float*>(buffers_.back()->data), options_.max_rows, cols};
}

int64_t Model::StepBytes(const model::ModelConfig& config, int64_t rows) {
  const ActivationColumns columns = ColumnsOf(config);
  const int64_t all = std::accumulate(columns.begin(), columns.end(), int64_t{0});
  return rows * all * static_cast<int64_t>(sizeof(float));
}

absl::Status Model::AllocateActivations() {
  const std::array<kernels::Matrix*, kActivations> matrices = {
      &hidden_, &normed_, &qkv_, &attended_, &up_, &activated_, &chosen_, &logits_};
  const ActivationColumns columns = ColumnsOf(config_);
  for (size_t i = 0; i < kActivations; ++i) {
    absl::StatusOr<kernels::Matrix> activation = Activation(columns[i]);
    if (!activation.ok()) return activation.status();
    *matrices[i] = *activation;
  }
  return absl::OkStatus();
}

kernels::Matrix Model::Rows(kernels::Matrix activation, int64_t rows) {
  return {activation.data, rows, activation.cols};
}

absl::StatusOr<std::span<const float>> Model::Step(std::span<const StepSegment> segments) {
  absl::StatusOr<kernels::Matrix> logits = Run(segments);
  if (!logits.ok()) return logits.status();
  return CopyLogits(*logits);
}

absl::StatusOr<kernels::Matrix> Model::Run(std::span<const StepSegment> segments,
                                           std::span<const kernels::RowSampling> choices,
                                           std::span<kernels::SampledRow> sampled) {
  std::vector<kernels::Segment> parts;
  int64_t rows = 0;
  for (const StepSegment& segment : segments) {
    parts.push_back({segment.slot, segment.position, static_cast<int32_t>(segment.tokens.size()),
                     segment.tentative, segment.opens, segment.archive, segment.unit_weights,
                     segment.attention_shares});
    rows += parts.back().rows;
  }
  if (rows < 1 || rows > options_.max_rows) {
    return Refusal("step", Words{Concat(rows, " rows")}, FromTo(1, options_.max_rows));
  }
  const kernels::Matrix x = Rows(hidden_, rows);
  backend_->BeginStep(config_.attention, parts);
  Embed(segments, x);
  for (int32_t layer = 0; layer < config_.num_layers; ++layer) Layer(layer, x);
  const kernels::Matrix logits = Logits(segments, x);
  absl::Status status;
  if (!choices.empty()) {
    const kernels::Matrix chosen_from = Rows(logits, std::ssize(choices));
    status = backend_->sampler()->Sample(chosen_from, choices, sampled);
  }
  status.Update(backend_->EndStep());
  if (!status.ok()) return status;
  return logits;
}

void Model::Embed(std::span<const StepSegment> segments, kernels::Matrix x) {
  std::vector<int64_t> tokens;
  std::vector<int64_t> positions;
  for (const StepSegment& segment : segments) {
    tokens.insert(tokens.end(), segment.tokens.begin(), segment.tokens.end());
    for (size_t i = 0; i < segment.tokens.size(); ++i) {
      positions.push_back(segment.position + static_cast<int64_t>(i));
    }
  }
  backend_->Embed(tokens, *weights_.embedding, /*accumulate=*/false, x);
  if (weights_.positions != nullptr) {
    backend_->Embed(positions, *weights_.positions, /*accumulate=*/true, x);
  }
}

void Model::Layer(int32_t index, kernels::Matrix x) {
  const LayerWeights& layer = weights_.layers[index];
  const kernels::Matrix normed = Rows(normed_, x.rows);
  const kernels::Matrix qkv = Rows(qkv_, x.rows);
  const kernels::Matrix attended = Rows(attended_, x.rows);
  backend_->Norm(x, *layer.input_norm, normed);
  backend_->Linear(normed, *layer.qkv, /*accumulate=*/false, qkv);
  backend_->Attend(*layer.attention, index, qkv, attended);
  backend_->Linear(attended, *layer.output, /*accumulate=*/true, x);

  const kernels::Matrix up = Rows(up_, x.rows);
  const kernels::Matrix activated = Rows(activated_, x.rows);
  backend_->Norm(x, *layer.post_attention_norm, normed);
  backend_->Linear(normed, *layer.up, /*accumulate=*/false, up);
  backend_->Activate(config_.mlp, up, activated);
  backend_->Linear(activated, *layer.down, /*accumulate=*/true, x);
}

kernels::Matrix Model::Logits(std::span<const StepSegment> segments, kernels::Matrix x) {
  std::vector<int32_t> rows;
  int32_t end = 0;
  for (const StepSegment& segment : segments) {
    end += static_cast<int32_t>(segment.tokens.size());
    for (int32_t row = end - segment.logits; row < end; ++row) rows.push_back(row);
  }
  if (rows.empty()) return {};
  const auto count = static_cast<int64_t>(rows.size());
  const kernels::Matrix chosen = Rows(chosen_, count);
  const kernels::Matrix normed = Rows(normed_, count);
  const kernels::Matrix logits = Rows(logits_, count);
  backend_->GatherRows(x, rows, chosen);
  backend_->Norm(chosen, *weights_.norm, normed);
  backend_->Linear(normed, weights_.head(), /*accumulate=*/false, logits);
  return logits;
}

absl::StatusOr<std::span<const float>> Model::CopyLogits(kernels::Matrix logits) {
  if (logits.rows == 0) return std::span<const float>();
  host_logits_.resize(static_cast<size_t>(logits.rows * logits.cols));
  if (absl::Status status = backend_->CopyToHost(logits, host_logits_); !status.ok()) return status;
  return std::span<const float>(host_logits_);
}

}  // namespace fmaserver::engine
