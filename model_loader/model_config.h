// config.json of a checkpoint, parsed once into a type that is valid by construction.
// Keys and their meaning: docs/model.md, "Around the attention".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/fma/spec.h"

namespace fmaserver::model {

enum class TokenizerKind {
  kFile,   ///< tokenizer.json, else tokenizer.model; without either there is none
  kBytes,  ///< "tokenizer": "bytes": ids 0..255 are bytes
};

struct ModelConfig {
  int64_t vocab_size = 0;         ///< V
  int64_t hidden_size = 0;        ///< D
  int64_t intermediate_size = 0;  ///< F
  int32_t num_layers = 0;
  int64_t max_position_embeddings = 0;
  kernels::AttentionSpec attention;  ///< of the layers that are not in layers_without_rope
  std::vector<double> rope_factors;  ///< [d/2]: what the frequencies are divided by; empty: 1
  std::vector<int32_t> layers_without_rope;  ///< ascending
  bool qk_norm = false;                      ///< every query head and every key head is normed
  kernels::NormKind norm = kernels::NormKind::kRmsNorm;
  float norm_eps = 1e-5F;
  kernels::MlpKind mlp = kernels::MlpKind::kSwiglu;
  bool attention_bias = false;
  bool mlp_bias = false;
  bool tie_word_embeddings = false;
  std::vector<int32_t> bos_token_ids;
  std::vector<int32_t> eos_token_ids;
  std::optional<int32_t> mask_token_id;  ///< of encoders: what stands for a token to be guessed
  TokenizerKind tokenizer = TokenizerKind::kFile;

  kernels::AttentionSpec AttentionOf(int32_t layer) const;

  /// Longest sequence, in tokens: max_position_embeddings with learned positions, else unlimited.
  int64_t MaxSequenceLength() const;
};

/// Parses and checks the text of a config.json. `origin` names it in messages.
/// INVALID_ARGUMENT names the key, what was found and what is allowed.
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json, std::string_view origin);

}  // namespace fmaserver::model
