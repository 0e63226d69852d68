// A checkpoint's weights in the form that a backend computes with.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "model_loader/checkpoint.h"

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

/// Copies the weights, so the checkpoint may be closed afterwards. RESOURCE_EXHAUSTED when they do
/// not fit into the backend's memory.
absl::StatusOr<ModelWeights> LoadWeights(const model::Checkpoint& checkpoint,
                                         kernels::Backend& backend);

}  // namespace fmaserver::engine
