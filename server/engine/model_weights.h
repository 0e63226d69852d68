// A checkpoint's weights in the form that a backend computes with.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "model_loader/checkpoint.h"

namespace fmaserver {

struct LayerWeights {
  std::unique_ptr<NormWeights> input_norm;
  std::unique_ptr<LinearWeights> qkv;  ///< [(H + 2K) d, D], stacked
  std::unique_ptr<AttentionWeights> attention;
  std::unique_ptr<LinearWeights> output;  ///< [D, H d]
  std::unique_ptr<NormWeights> post_attention_norm;
  std::unique_ptr<LinearWeights> up;    ///< [F, D]; swiglu: gate and up stacked, [2F, D]
  std::unique_ptr<LinearWeights> down;  ///< [D, F]
};

struct ModelWeights {
  std::unique_ptr<LinearWeights> embedding;  ///< [V, D]
  std::unique_ptr<LinearWeights> positions;  ///< [max_position_embeddings, D]; null unless learned
  std::vector<LayerWeights> layers;
  std::unique_ptr<NormWeights> norm;
  std::unique_ptr<LinearWeights> lm_head;  ///< [V, D]; null when tied to the embedding

  const LinearWeights& head() const { return lm_head == nullptr ? *embedding : *lm_head; }
};

/// Copies: the checkpoint may go afterwards. RESOURCE_EXHAUSTED when the backend has no room.
absl::StatusOr<ModelWeights> LoadWeights(const Checkpoint& checkpoint, Backend& backend);

}  // namespace fmaserver
