#include "server/engine/encoder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/status/status.h"
#include "base/refusal.h"
#include "base/text.h"
#include "server/engine/validate.h"

namespace fmaserver::engine {
namespace {

constexpr int32_t kMaxSliceRows = 1 << 16;
constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();

kernels::Matrix Rows(kernels::Matrix x, int64_t first, int64_t rows) {
  return {x.Row(first), rows, x.cols};
}

int64_t MatrixBytes(int64_t rows, int64_t cols) {
  return rows * cols * static_cast<int64_t>(sizeof(float));
}

/// Columns of what all tokens have at once: x, qkv, attended.
std::array<int64_t, 3> WholeColumns(const model::ModelConfig& config) {
  const kernels::AttentionSpec& attention = config.attention;
  return {config.hidden_size, attention.QkvColumns(),
          int64_t{attention.num_heads} * attention.head_dim};
}

absl::Status Validate(std::span<const std::span<const int32_t>> texts,
                      const model::ModelConfig& config) {
  if (texts.empty()) return Refusal("texts", 0, "1 or more");
  int64_t tokens = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string field = texts.size() == 1 ? "tokens" : Concat("texts[", i, "]");
    const auto length = static_cast<int64_t>(texts[i].size());
    if (absl::Status status = ValidateTokens(field, texts[i], config, length); !status.ok()) {
      return status;
    }
    tokens += length;
  }
  if (tokens <= kMaxTokens) return absl::OkStatus();
  return Refusal("texts", Words{Concat(tokens, " tokens together")},
                 FromTo<int64_t>(1, kMaxTokens));
}

}  // namespace

int64_t Encoding::TextOf(int64_t row) const {
  return std::ranges::upper_bound(first_rows_, row) - first_rows_.begin() - 1;
}

std::vector<float> Encoding::Embedding(int64_t text) const {
  const auto sums = std::span(sums_).subspan(text * x_.cols, x_.cols);
  const double length = std::sqrt(std::inner_product(sums.begin(), sums.end(), sums.begin(), 0.0));
  std::vector<float> embedding(sums.size());
  std::ranges::transform(sums, embedding.begin(), [length](double sum) {
    return static_cast<float>(length > 0 ? sum / length : 0.0);
  });
  return embedding;
}

absl::StatusOr<std::unique_ptr<Encoder>> Encoder::Load(const model::Checkpoint& checkpoint,
                                                       std::shared_ptr<kernels::Backend> backend,
                                                       EncoderOptions options,
                                                       const OnLoaded& on_loaded) {
  if (checkpoint.config().attention.causal) {
    return Refusal(At(checkpoint.name(), "architectures"), Words{"FmaForCausalLM, a decoder"},
                   "FmaForMaskedLM, an encoder");
  }
  if (options.slice_rows < 1 || options.slice_rows > kMaxSliceRows) {
    return Refusal("slice_rows", options.slice_rows, FromTo(1, kMaxSliceRows));
  }
  absl::StatusOr<ModelWeights> weights =
      LoadWeights(checkpoint, options.weights, *backend, on_loaded);
  if (!weights.ok()) return weights.status();
  std::unique_ptr<Encoder> encoder(
      new Encoder(checkpoint, std::move(backend), options, *std::move(weights)));
  if (absl::Status status = encoder->AllocateSlices(); !status.ok()) return status;
  return encoder;
}

Encoder::Encoder(const model::Checkpoint& checkpoint, std::shared_ptr<kernels::Backend> backend,
                 EncoderOptions options, ModelWeights weights)
    : config_(checkpoint.config()),
      backend_(std::move(backend)),
      options_(options),
      weights_(std::move(weights)),
      num_parameters_(checkpoint.NumParameters()),
      weight_bytes_(LoadedBytes(checkpoint, options.weights)) {}

absl::StatusOr<kernels::Matrix> Encoder::Allocate(int64_t rows, int64_t cols,
                                                  std::unique_ptr<kernels::Buffer>& memory) {
  absl::StatusOr<std::unique_ptr<kernels::Buffer>> buffer =
      backend_->Allocate(MatrixBytes(rows, cols));
  if (!buffer.ok()) return buffer.status();
  memory = *std::move(buffer);
  return kernels::Matrix{reinterpret_cast<float*>(memory->data), rows, cols};
}

absl::Status Encoder::AllocateSlices() {
  const int64_t inner = config_.intermediate_size;
  const std::array<std::pair<kernels::Matrix*, int64_t>, 5> slices = {
      {{&normed_, config_.hidden_size},
       {&up_, config_.mlp == kernels::MlpKind::kSwiglu ? 2 * inner : inner},
       {&activated_, inner},
       {&chosen_, config_.hidden_size},
       {&logits_, config_.vocab_size}}};
  for (const auto& [matrix, columns] : slices) {
    auto allocated = Allocate(options_.slice_rows, columns, buffers_.emplace_back());
    if (!allocated.ok()) return allocated.status();
    *matrix = *allocated;
  }
  return absl::OkStatus();
}

int64_t Encoder::BytesFor(std::span<const int64_t> lengths) const {
  const int64_t rows = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  int64_t bytes = backend_->BothWaysBytes(config_.attention, lengths);
  for (const int64_t columns : WholeColumns(config_)) bytes += MatrixBytes(rows, columns);
  return bytes;
}

absl::StatusOr<Encoding> Encoder::Begin(std::span<const std::span<const int32_t>> texts) {
  if (absl::Status status = Validate(texts, config_); !status.ok()) return status;
  Encoding encoding;
  encoding.work_ = std::make_unique<Encoding::Work>();
  Encoding::Work& work = *encoding.work_;
  for (const std::span<const int32_t> text : texts) {
    work.tokens.insert(work.tokens.end(), text.begin(), text.end());
    work.lengths.push_back(std::ssize(text));
    encoding.first_rows_.push_back(encoding.rows() + work.lengths.back());
  }
  const auto [hidden, columns, attended_columns] = WholeColumns(config_);
  const auto x = Allocate(encoding.rows(), hidden, encoding.memory_);
  const auto qkv = Allocate(encoding.rows(), columns, work.of_qkv);
  const auto attended = Allocate(encoding.rows(), attended_columns, work.of_attended);
  auto workspace = backend_->Allocate(backend_->BothWaysBytes(config_.attention, work.lengths));
  for (const absl::Status& status :
       {x.status(), qkv.status(), attended.status(), workspace.status()}) {
    if (!status.ok()) return status;
  }
  encoding.x_ = *x;
  work.qkv = *qkv;
  work.attended = *attended;
  work.workspace = *std::move(workspace);
  encoding.sums_.resize(static_cast<size_t>(encoding.texts() * hidden));
  return encoding;
}

absl::StatusOr<Encoding> Encoder::Encode(std::span<const std::span<const int32_t>> texts) {
  auto encoding = Begin(texts);
  while (encoding.ok() && !encoding->done()) {
    if (absl::Status status = Advance(*encoding); !status.ok()) return status;
  }
  return encoding;
}

// A step for each piece: those of other models go between them.
absl::Status Encoder::Advance(Encoding& encoding) {
  absl::Status status;
  backend_->BeginStep(config_.attention, {});
  for (int64_t rows = 0; rows < kPieceRows && status.ok() && !encoding.done();) {
    const absl::StatusOr<int64_t> more = AdvanceStage(encoding, kPieceRows - rows);
    status = more.status();
    rows += more.value_or(0);
  }
  status.Update(backend_->EndStep());
  return status;
}

absl::StatusOr<int64_t> Encoder::AdvanceStage(Encoding& encoding, int64_t most) {
  using Stage = Encoding::Stage;
  Encoding::Work& work = *encoding.work_;
  if (work.stage == Stage::kAttend) {
    const kernels::AttentionWeights& weights = *weights_.layers[work.layer].attention;
    const int64_t rows = backend_->AttendBothWays(weights, most, work.attention);
    if (work.attention.done) EndStage(encoding, config_.num_layers);
    return rows;
  }
  const int64_t rows = std::min<int64_t>(options_.slice_rows, encoding.rows() - work.row);
  const kernels::Matrix x = Rows(encoding.x_, work.row, rows);
  if (work.stage == Stage::kEmbed) {
    Embed(encoding, work.row, x);
  } else if (work.stage == Stage::kProject) {
    Project(weights_.layers[work.layer], x, Rows(work.qkv, work.row, rows));
  } else if (work.stage == Stage::kFeedForward) {
    FeedForward(weights_.layers[work.layer], Rows(work.attended, work.row, rows), x);
  } else if (absl::Status status = AddToSums(encoding, work.row, x); !status.ok()) {
    return status;
  }
  work.row += rows;
  if (work.row == encoding.rows()) EndStage(encoding, config_.num_layers);
  return rows;
}

void Encoder::EndStage(Encoding& encoding, int32_t num_layers) {
  using Stage = Encoding::Stage;
  Encoding::Work& work = *encoding.work_;
  work.row = 0;
  switch (work.stage) {
    case Stage::kEmbed:
      work.tokens = {};
      work.stage = Stage::kProject;
      break;
    case Stage::kProject:
      work.attention = {work.lengths, work.qkv, work.workspace.get(), work.attended};
      work.stage = Stage::kAttend;
      break;
    case Stage::kAttend:
      work.stage = Stage::kFeedForward;
      break;
    case Stage::kFeedForward:
      work.stage = ++work.layer < num_layers ? Stage::kProject : Stage::kSum;
      break;
    case Stage::kSum:
      encoding.work_.reset();
  }
}

void Encoder::Embed(const Encoding& encoding, int64_t first, kernels::Matrix x) {
  const auto tokens = std::span(encoding.work_->tokens).subspan(first, x.rows);
  backend_->Embed(std::vector<int64_t>(tokens.begin(), tokens.end()), *weights_.embedding,
                  /*accumulate=*/false, x);
  if (weights_.positions == nullptr) return;
  std::vector<int64_t> positions;
  for (int64_t row = first; row < first + x.rows; ++row) {
    positions.push_back(row - encoding.FirstRow(encoding.TextOf(row)));
  }
  backend_->Embed(positions, *weights_.positions, /*accumulate=*/true, x);
}

absl::Status Encoder::AddToSums(Encoding& encoding, int64_t first, kernels::Matrix x) {
  const kernels::Matrix normed = Rows(normed_, 0, x.rows);
  backend_->Norm(x, *weights_.norm, normed);
  host_.resize(static_cast<size_t>(x.rows * x.cols));
  if (absl::Status status = backend_->CopyToHost(normed, host_); !status.ok()) return status;
  for (int64_t row = 0; row < x.rows; ++row) {
    double* const sums = &encoding.sums_[encoding.TextOf(first + row) * x.cols];
    for (int64_t c = 0; c < x.cols; ++c) sums[c] += host_[row * x.cols + c];
  }
  return absl::OkStatus();
}

void Encoder::Project(const LayerWeights& layer, kernels::Matrix x, kernels::Matrix qkv) {
  const kernels::Matrix normed = Rows(normed_, 0, x.rows);
  backend_->Norm(x, *layer.input_norm, normed);
  backend_->Linear(normed, *layer.qkv, /*accumulate=*/false, qkv);
}

void Encoder::FeedForward(const LayerWeights& layer, kernels::Matrix attended, kernels::Matrix x) {
  const kernels::Matrix normed = Rows(normed_, 0, x.rows);
  const kernels::Matrix up = Rows(up_, 0, x.rows);
  const kernels::Matrix activated = Rows(activated_, 0, x.rows);
  backend_->Linear(attended, *layer.output, /*accumulate=*/true, x);
  backend_->Norm(x, *layer.post_attention_norm, normed);
  backend_->Linear(normed, *layer.up, /*accumulate=*/false, up);
  backend_->Activate(config_.mlp, up, activated);
  backend_->Linear(activated, *layer.down, /*accumulate=*/true, x);
}

absl::StatusOr<std::span<const float>> Encoder::Logits(const Encoding& encoding,
                                                       std::span<const int32_t> rows) {
  const auto count = static_cast<int64_t>(rows.size());
  if (count < 1 || count > options_.slice_rows) {
    return Refusal("rows", Words{Concat(count, " rows")}, FromTo(1, options_.slice_rows));
  }
  const kernels::Matrix chosen = Rows(chosen_, 0, count);
  const kernels::Matrix normed = Rows(normed_, 0, count);
  const kernels::Matrix logits = Rows(logits_, 0, count);
  backend_->BeginStep(config_.attention, {});
  backend_->GatherRows(encoding.x_, rows, chosen);
  backend_->Norm(chosen, *weights_.norm, normed);
  backend_->Linear(normed, weights_.head(), /*accumulate=*/false, logits);
  host_.resize(static_cast<size_t>(count * logits.cols));
  absl::Status status = backend_->CopyToHost(logits, host_);
  status.Update(backend_->EndStep());
  if (!status.ok()) return status;
  return std::span<const float>(host_);
}

}  // namespace fmaserver::engine
