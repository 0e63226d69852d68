// The transformer's forward pass, written once against Backend.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/fma/slot_layout.h"
#include "model_loader/checkpoint.h"
#include "server/engine/model_weights.h"

namespace fmaserver {

struct ModelOptions {
  int32_t max_rows = 256;           ///< rows of one step, at most
  DType cache_dtype = DType::kF32;  ///< kF32 or kBF16
};

/// Tokens of one sequence to feed in a step: they take positions [position, position + size).
struct StepSegment {
  std::byte* slot = nullptr;
  int64_t position = 0;
  std::span<const int32_t> tokens;  ///< one or more, each in [0, V)
  int32_t logits = 0;               ///< how many of the last rows need logits
};

/// Thread-compatible: one thread at a time.
class Model {
 public:
  /// Copies the weights into the backend. INVALID_ARGUMENT for options out of range.
  static absl::StatusOr<std::unique_ptr<Model>> Load(const Checkpoint& checkpoint,
                                                     std::shared_ptr<Backend> backend,
                                                     ModelOptions options);

  /// Feeds every segment and returns the logits asked for, [sum of logits, V] in segment order, in
  /// the backend's memory (null data: none); valid until the next call. Segments are of different
  /// slots and max_rows rows in all. With `choices`, one for each row of logits and of a backend
  /// with a sampler, their tokens come into `sampled` in the same step.
  absl::StatusOr<Matrix> Run(std::span<const StepSegment> segments,
                             std::span<const RowSampling> choices = {},
                             std::span<SampledRow> sampled = {});

  /// Rows of Run() in host memory; valid until the next call.
  absl::StatusOr<std::span<const float>> CopyLogits(Matrix logits);

  /// Both in one.
  absl::StatusOr<std::span<const float>> Step(std::span<const StepSegment> segments);

  const ModelConfig& config() const { return config_; }
  const std::string& name() const { return name_; }
  const ModelOptions& options() const { return options_; }
  const SlotLayout& layout() const { return layout_; }
  Backend& backend() const { return *backend_; }
  int64_t num_parameters() const { return num_parameters_; }
  int64_t weight_bytes() const { return weight_bytes_; }
  int64_t slot_bytes() const { return layout_.slot_bytes; }
  int64_t full_cache_bytes_per_token() const { return FullCacheBytesPerToken(layout_); }
  std::string device() const { return backend_->Description(); }

 private:
  Model(const Checkpoint& checkpoint, std::shared_ptr<Backend> backend, ModelOptions options,
        ModelWeights weights);

  absl::Status AllocateActivations();
  absl::StatusOr<Matrix> Activation(int64_t cols);
  /// `rows` leading rows of an activation.
  static Matrix Rows(Matrix activation, int64_t rows);

  void Embed(std::span<const StepSegment> segments, Matrix x);
  void Layer(int32_t index, Matrix x);
  Matrix Logits(std::span<const StepSegment> segments, Matrix x);

  const std::string name_;
  const ModelConfig config_;
  const int64_t num_parameters_;
  const int64_t weight_bytes_;
  const std::shared_ptr<Backend> backend_;
  const ModelOptions options_;
  const SlotLayout layout_;
  const ModelWeights weights_;

  // Activations of one step, [max_rows, ...].
  std::vector<std::unique_ptr<Buffer>> buffers_;
  Matrix hidden_;     // [., D]
  Matrix normed_;     // [., D]
  Matrix qkv_;        // [., (H + 2K) d]
  Matrix attended_;   // [., H d]
  Matrix up_;         // [., F], swiglu [., 2F]
  Matrix activated_;  // [., F]
  Matrix chosen_;     // [., D], rows that need logits
  Matrix logits_;     // [., V]
  std::vector<float> host_logits_;
};

}  // namespace fmaserver
