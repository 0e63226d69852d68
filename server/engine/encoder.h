// An encoder's forward pass: whole texts at once, which leave no state behind.
//
// Its memory grows with the tokens, and is known before the work starts: Encoder::BytesFor().
// Products and the logits are made in slices of rows, so only what the attention needs of all
// tokens at once is kept for all of them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "model_loader/checkpoint.h"
#include "server/engine/model_weights.h"

namespace fmaserver::engine {

struct EncoderOptions {
  int32_t slice_rows = 256;  ///< of products and logits, at most
  WeightType weights = WeightType::kAsStored;
};

/// Several texts that an Encoder reads: Begin() makes one, Advance() reads on until it is done().
class Encoding {
 public:
  int64_t rows() const { return first_rows_.back(); }  ///< tokens of all texts
  int64_t texts() const { return static_cast<int64_t>(first_rows_.size()) - 1; }
  /// The row of a text's first token. The tokens of texts lie one after the other.
  int64_t FirstRow(int64_t text) const { return first_rows_[text]; }
  /// All layers have been computed: there are logits and embeddings now.
  bool done() const { return work_ == nullptr; }
  /// Once it is done: the mean of norm(x) over a text's tokens, [D], divided by its length; zeros
  /// when that is 0.
  std::vector<float> Embedding(int64_t text) const;

 private:
  friend class Encoder;

  int64_t TextOf(int64_t row) const;

  enum class Stage : uint8_t { kEmbed, kProject, kAttend, kFeedForward, kSum };
  /// What a layer works in, for all tokens at once, and where it is.
  struct Work {
    std::vector<int32_t> tokens;  // of all texts
    std::unique_ptr<kernels::Buffer> of_qkv;
    std::unique_ptr<kernels::Buffer> of_attended;
    std::unique_ptr<kernels::Buffer> workspace;
    kernels::Matrix qkv;       // [rows, (H + 2K) d]
    kernels::Matrix attended;  // [rows, H d]
    std::vector<int64_t> lengths;
    kernels::BothWays attention;  // of the layer
    int32_t layer = 0;
    Stage stage = Stage::kEmbed;
    int64_t row = 0;  // the first that the stage has not computed
  };

  std::unique_ptr<kernels::Buffer> memory_;
  kernels::Matrix x_;  // [rows, D], before the last norm
  std::vector<int64_t> first_rows_ = {0};
  std::vector<double> sums_;    // [texts, D], of norm(x)
  std::unique_ptr<Work> work_;  // until it is done
};

/// Not thread-safe: one thread at a time.
class Encoder {
 public:
  /// Copies the weights into the backend. INVALID_ARGUMENT for options out of range and for
  /// decoders (model.h); UNIMPLEMENTED for backends that run no encoders; errors of LoadWeights().
  static absl::StatusOr<std::unique_ptr<Encoder>> Load(const model::Checkpoint& checkpoint,
                                                       std::shared_ptr<kernels::Backend> backend,
                                                       EncoderOptions options,
                                                       const OnLoaded& on_loaded = {});

  /// The most bytes that an Encoding holds for texts of these lengths, each 1 or more. Once it is
  /// done it keeps a part of them.
  int64_t BytesFor(std::span<const int64_t> lengths) const;

  /// Begins to read one or more texts, each of which sees only itself. INVALID_ARGUMENT for an
  /// empty text, a token outside [0, V), a text longer than the model's learned positions, and more
  /// than 2^31 - 1 tokens in all. RESOURCE_EXHAUSTED.
  absl::StatusOr<Encoding> Begin(std::span<const std::span<const int32_t>> texts);

  /// Reads on, as one step: kPieceRows rows through a part of a layer, or as much work. After an
  /// error the encoding is of no use.
  absl::Status Advance(Encoding& encoding);
  static constexpr int64_t kPieceRows = 2048;

  /// Begins, and reads to the end.
  absl::StatusOr<Encoding> Encode(std::span<const std::span<const int32_t>> texts);

  /// Of 1 to slice_rows rows of an encoding that is done, [rows, V] in host memory; valid until the
  /// next call.
  absl::StatusOr<std::span<const float>> Logits(const Encoding& encoding,
                                                std::span<const int32_t> rows);

  const model::ModelConfig& config() const { return config_; }
  int64_t num_parameters() const { return num_parameters_; }
  int64_t weight_bytes() const { return weight_bytes_; }
  std::string device() const { return backend_->Description(); }
  const EncoderOptions& options() const { return options_; }

 private:
  Encoder(const model::Checkpoint& checkpoint, std::shared_ptr<kernels::Backend> backend,
          EncoderOptions options, ModelWeights weights);

  absl::Status AllocateSlices();
  absl::StatusOr<kernels::Matrix> Allocate(int64_t rows, int64_t cols,
                                           std::unique_ptr<kernels::Buffer>& memory);
  /// As much of a stage as one slice, or as `most` rows of attention. Returns how many rows' work
  /// that was.
  absl::StatusOr<int64_t> AdvanceStage(Encoding& encoding, int64_t most);
  static void EndStage(Encoding& encoding, int32_t num_layers);
  /// These compute rows [first, first + x.rows).
  void Embed(const Encoding& encoding, int64_t first, kernels::Matrix x);
  absl::Status AddToSums(Encoding& encoding, int64_t first, kernels::Matrix x);
  void Project(const LayerWeights& layer, kernels::Matrix x, kernels::Matrix qkv);
  void FeedForward(const LayerWeights& layer, kernels::Matrix attended, kernels::Matrix x);

  const model::ModelConfig config_;
  const std::shared_ptr<kernels::Backend> backend_;
  const EncoderOptions options_;
  const ModelWeights weights_;
  const int64_t num_parameters_;
  const int64_t weight_bytes_;

  // Of a slice, [slice_rows, ...].
  std::vector<std::unique_ptr<kernels::Buffer>> buffers_;
  kernels::Matrix normed_;     // [., D]
  kernels::Matrix up_;         // [., F], swiglu [., 2F]
  kernels::Matrix activated_;  // [., F]
  kernels::Matrix chosen_;     // [., D], rows that need logits
  kernels::Matrix logits_;     // [., V]
  std::vector<float> host_;
};

}  // namespace fmaserver::engine
