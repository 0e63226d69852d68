// What the tensors of a checkpoint are called: docs/model.md, "Tensors". A module of the model
// ("model.layers.3.mlp.up_proj") has a tensor ".weight" and perhaps one ".bias".
#pragma once

#include <string>
#include <string_view>

namespace fmaserver::model {

inline constexpr std::string_view kEmbedTokens = "model.embed_tokens";
inline constexpr std::string_view kEmbedPositions = "model.embed_positions";
inline constexpr std::string_view kFinalNorm = "model.norm";
inline constexpr std::string_view kLmHead = "lm_head";

/// The modules of a layer, as `LayerModule` takes them.
inline constexpr std::string_view kInputNorm = "input_layernorm";
inline constexpr std::string_view kQueryProjection = "self_attn.q_proj";
inline constexpr std::string_view kKeyProjection = "self_attn.k_proj";
inline constexpr std::string_view kValueProjection = "self_attn.v_proj";
inline constexpr std::string_view kQueryNorm = "self_attn.q_norm";
inline constexpr std::string_view kKeyNorm = "self_attn.k_norm";
inline constexpr std::string_view kKeyDownsampling = "self_attn.k_downsample";
inline constexpr std::string_view kValueDownsampling = "self_attn.v_downsample";
inline constexpr std::string_view kQueryDownsampling = "self_attn.q_downsample";
inline constexpr std::string_view kLevelBias = "self_attn.level_bias";
inline constexpr std::string_view kOutputProjection = "self_attn.o_proj";
inline constexpr std::string_view kPostAttentionNorm = "post_attention_layernorm";
inline constexpr std::string_view kGateProjection = "mlp.gate_proj";
inline constexpr std::string_view kUpProjection = "mlp.up_proj";
inline constexpr std::string_view kDownProjection = "mlp.down_proj";

/// "model.layers.3.mlp.up_proj" for (3, kUpProjection).
std::string LayerModule(int layer, std::string_view module);

/// "model.layers.3.self_attn.k_downsample.0" for (3, kKeyDownsampling, 0).
std::string DownsamplingModule(int layer, std::string_view keys_or_values, int index);

/// The tensors of a module.
std::string WeightOf(std::string_view module);
std::string BiasOf(std::string_view module);

/// The tensors that belong to a weight (a tensor's name) of integers in blocks.
std::string ScalesOf(std::string_view weight);
std::string MinimaOf(std::string_view weight);
/// Whether it is the name of such a tensor.
bool IsOfBlocks(std::string_view name);

}  // namespace fmaserver::model
