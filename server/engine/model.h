// The transformer's forward pass, written once against Backend.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/fma/archive_layout.h"
#include "kernels/fma/slot_layout.h"
#include "model_loader/checkpoint.h"
#include "server/engine/model_weights.h"

namespace fmaserver::engine {

struct ModelOptions {
  int32_t max_rows = 256;  ///< of one step, at most
  kernels::CacheType cache_type = kernels::CacheType::kF32;
  std::optional<kernels::CacheType> archive_type = {};  ///< of archived tokens; absent: the same
  WeightType weights = WeightType::kAsStored;
};

/// Tokens of one sequence to feed in a step: they take positions [position, position + size).
struct StepSegment {
  kernels::SlotHandle slot;
  int64_t position = 0;
  std::span<const int32_t> tokens;  ///< one or more, each in [0, V)
  int32_t logits = 0;               ///< how many of the last rows need logits
  bool tentative = false;           ///< the slot takes none of them before Commit()
  bool opens = false;               ///< whether it reads and writes an archive (kernels::Segment)
  std::span<kernels::ArchiveGroup* const> archive = {};
  std::span<float> unit_weights = {};      ///< as of kernels::Segment
  std::span<float> attention_shares = {};  ///< likewise
};

/// Not thread-safe: one thread at a time.
class Model {
 public:
  /// Copies the weights into the backend. INVALID_ARGUMENT for options out of range and for
  /// encoders (encoder.h); errors of LoadWeights().
  static absl::StatusOr<std::unique_ptr<Model>> Load(const model::Checkpoint& checkpoint,
                                                     std::shared_ptr<kernels::Backend> backend,
                                                     ModelOptions options,
                                                     const OnLoaded& on_loaded = {});

  /// How the slots of such a model are laid out, and so the archives beside them.
  static kernels::SlotLayout LayoutOf(const model::ModelConfig& config,
                                      const ModelOptions& options) {
    return {config.attention, config.num_layers, options.cache_type,
            options.archive_type.value_or(options.cache_type)};
  }

  /// Of the activations of a step of `rows` rows.
  static int64_t StepBytes(const model::ModelConfig& config, int64_t rows);

  /// Feeds every segment and returns the logits asked for, [sum of logits, V] in segment order, in
  /// the backend's memory (null data: none); valid until the next call. Segments have different
  /// slots and at most max_rows rows in all. `choices`, which need a backend with a sampler, say
  /// how to choose a token for each of the first rows of logits; the tokens come into `sampled` in
  /// the same step.
  absl::StatusOr<kernels::Matrix> Run(std::span<const StepSegment> segments,
                                      std::span<const kernels::RowSampling> choices = {},
                                      std::span<kernels::SampledRow> sampled = {});

  /// After a Run() and before the next: the slot of the i-th tentative segment takes the first
  /// accepted[i] of its tokens, and is then as if it had been fed only these.
  absl::Status Commit(std::span<const int32_t> accepted) { return backend_->Commit(accepted); }

  /// The rows that Run() returned, in host memory; valid until the next call.
  absl::StatusOr<std::span<const float>> CopyLogits(kernels::Matrix logits);

  /// Run and CopyLogits in one call.
  absl::StatusOr<std::span<const float>> Step(std::span<const StepSegment> segments);

  const model::ModelConfig& config() const { return config_; }
  const std::string& name() const { return name_; }
  const ModelOptions& options() const { return options_; }
  const kernels::SlotLayout& layout() const { return layout_; }
  kernels::Backend& backend() const { return *backend_; }
  const std::shared_ptr<kernels::Backend>& shared_backend() const { return backend_; }
  int64_t num_parameters() const { return num_parameters_; }
  int64_t weight_bytes() const { return weight_bytes_; }
  int64_t slot_bytes() const { return layout_.slot_bytes; }
  const kernels::ArchiveLayout& archive_layout() const { return archive_layout_; }
  int64_t full_cache_bytes_per_token() const { return kernels::FullCacheBytesPerToken(layout_); }
  std::string device() const { return backend_->Description(); }

 private:
  Model(const model::Checkpoint& checkpoint, std::shared_ptr<kernels::Backend> backend,
        ModelOptions options, ModelWeights weights);

  absl::Status AllocateActivations();
  absl::StatusOr<kernels::Matrix> Activation(int64_t cols);
  /// The first `rows` rows of an activation.
  static kernels::Matrix Rows(kernels::Matrix activation, int64_t rows);

  void Embed(std::span<const StepSegment> segments, kernels::Matrix x);
  void Layer(int32_t index, kernels::Matrix x);
  kernels::Matrix Logits(std::span<const StepSegment> segments, kernels::Matrix x);

  const std::string name_;
  const model::ModelConfig config_;
  const int64_t num_parameters_;
  const int64_t weight_bytes_;
  const std::shared_ptr<kernels::Backend> backend_;
  const ModelOptions options_;
  const kernels::SlotLayout layout_;
  const kernels::ArchiveLayout archive_layout_;
  const ModelWeights weights_;

  // Activations of one step, [max_rows, ...].
  std::vector<std::unique_ptr<kernels::Buffer>> buffers_;
  kernels::Matrix hidden_;     // [., D]
  kernels::Matrix normed_;     // [., D]
  kernels::Matrix qkv_;        // [., (H + 2K) d]
  kernels::Matrix attended_;   // [., H d]
  kernels::Matrix up_;         // [., F], swiglu [., 2F]
  kernels::Matrix activated_;  // [., F]
  kernels::Matrix chosen_;     // [., D], rows that need logits
  kernels::Matrix logits_;     // [., V]
  std::vector<float> host_logits_;
};

}  // namespace fmaserver::engine
