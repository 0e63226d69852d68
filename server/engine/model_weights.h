// A checkpoint's weights in the form that a backend computes with.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "model_loader/checkpoint.h"
#include "server/engine/weight_type.h"

namespace fmaserver::engine {

struct LayerWeights {
  std::unique_ptr<kernels::NormWeights> input_norm;
  std::unique_ptr<kernels::LinearWeights> qkv;  ///< [(H + 2K) d, D], stacked
  std::unique_ptr<kernels::AttentionWeights> attention;
  std::unique_ptr<kernels::LinearWeights> output;  ///< [D, H d]
  std::unique_ptr<kernels::NormWeights> post_attention_norm;
  std::unique_ptr<kernels::LinearWeights> up;    ///< [F, D]; swiglu: gate and up stacked, [2F, D]
  std::unique_ptr<kernels::LinearWeights> down;  ///< [D, F]
};

struct ModelWeights {
  std::unique_ptr<kernels::LinearWeights> embedding;  ///< [V, D]
  std::unique_ptr<kernels::LinearWeights>
      positions;  ///< [max_position_embeddings, D]; null unless learned
  std::vector<LayerWeights> layers;
  std::unique_ptr<kernels::NormWeights> norm;
  std::unique_ptr<kernels::LinearWeights> lm_head;  ///< [V, D]; null when tied to the embedding

  const kernels::LinearWeights& head() const { return lm_head == nullptr ? *embedding : *lm_head; }
};

/// Told, on the thread that loads, how many of Checkpoint::WeightBytes() have been loaded.
using OnLoaded = std::function<void(int64_t bytes)>;

/// Copies the weights, so the checkpoint may be closed afterwards. `on_loaded` may be null.
/// RESOURCE_EXHAUSTED when they do not fit into the backend's memory; INVALID_ARGUMENT for kBF16
/// when some are integers in blocks, which would be rounded twice, and for numbers that integers
/// cannot hold; UNIMPLEMENTED when the backend has no products of integers.
absl::StatusOr<ModelWeights> LoadWeights(const model::Checkpoint& checkpoint, WeightType type,
                                         kernels::Backend& backend, const OnLoaded& on_loaded = {});

/// Whether loading as `type` rounds any weight.
bool Rounds(const model::Checkpoint& checkpoint, WeightType type);

/// The bytes of all weights once they are loaded as `type`, in the formats that products read.
int64_t LoadedBytes(const model::Checkpoint& checkpoint, WeightType type);

}  // namespace fmaserver::engine
