// The tensors that a ModelConfig asks for: names and shapes, in one place.
// Source: docs/model.md, "Around the attention".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model_loader/model_config.h"

namespace fmaserver::model {

inline constexpr std::string_view kEmbedTokens = "model.embed_tokens.weight";        // [V, D]
inline constexpr std::string_view kEmbedPositions = "model.embed_positions.weight";  // [max_pos, D]
inline constexpr std::string_view kFinalNorm = "model.norm.weight";                  // [D]
inline constexpr std::string_view kFinalNormBias = "model.norm.bias";                // [D]
inline constexpr std::string_view kLmHead = "lm_head.weight";                        // [V, D]

/// "model.layers.3.self_attn.q_proj.weight" for (3, "self_attn.q_proj.weight").
std::string LayerTensor(int layer, std::string_view suffix);

/// "model.layers.3.self_attn.k_downsample.0.weight" for (3, 'k', 0, "weight").
std::string DownsamplingTensor(int layer, char k_or_v, int index, std::string_view suffix);

struct ExpectedTensor {
  std::string name;
  std::vector<int64_t> shape;
  bool required = true;
  /// The last dimension may also be smaller, down to 1 (columns of a level bias).
  bool last_is_maximum = false;

  bool Fits(const std::vector<int64_t>& found) const;
  /// The allowed shapes as a message shows them: "[4, 8]", "[4, 1..8]".
  std::string AllowedShape() const;
};

/// Every tensor of the model, in the order in which a forward pass reads them.
std::vector<ExpectedTensor> ExpectedTensors(const ModelConfig& config);

/// Why a model of `config` has no tensor `name`: which key of the config rules it out, or that no
/// model has such a tensor.
std::string WhyUnexpected(const ModelConfig& config, std::string_view name);

}  // namespace fmaserver::model
