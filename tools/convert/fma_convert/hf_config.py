"""config.json of a Hugging Face folder: five architectures, and every way out of them refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .decoder import MAX_LENGTH, MAX_VOCAB, Decoder, SizeKeys, read_sizes
from .fields import Fields
from .refusal import shown
from .rope import Rope, RopeScaling, yarn_sharpening
from .tokens import token_ids

_KEYS = SizeKeys(
    hidden="hidden_size",
    inner="intermediate_size",
    layers="num_hidden_layers",
    heads="num_attention_heads",
    kv_heads="num_key_value_heads",
    head_dim="head_dim",
    length="max_position_embeddings",
    eps="rms_norm_eps",
)


@dataclass(frozen=True)
class _Family:
    """What an architecture means where its config.json says nothing."""

    model_type: str
    tied: bool = False
    head_dim: int | None = None
    window: int | None = None  # of every layer
    input_biases: bool = False
    qk_norm: bool = False
    theta: float = 10000.0
    skips_rope: bool = False  # in some layers


_FAMILIES = {
    "LlamaForCausalLM": _Family("llama"),
    "MistralForCausalLM": _Family("mistral", window=4096),
    "Qwen2ForCausalLM": _Family("qwen2", input_biases=True),
    "Qwen3ForCausalLM": _Family("qwen3", head_dim=128, qk_norm=True),
    "SmolLM3ForCausalLM": _Family("smollm3", tied=True, theta=2000000.0, skips_rope=True),
}
# Keys by which relatives of these architectures change the mathematics.
_FOREIGN = (
    "alibi", "attention_multiplier", "attn_logit_softcapping", "embedding_multiplier", "final_logit_softcapping",
    "kv_lora_rank", "logits_scaling", "num_experts", "num_local_experts", "num_nextn_predict_layers",
    "parallel_residual", "query_pre_attn_scalar", "residual_multiplier", "use_qk_norm",
)  # fmt: skip
_ROPE_TYPES = ("default", "linear", "llama3", "yarn")


def read_config(members: dict[str, Any], where: str) -> Decoder:
    fields = Fields(members, where)
    name, family = _family(fields)
    _refuse_what_is_not_ours(fields)
    sizes = read_sizes(fields, _KEYS, family.head_dim)
    vocab_size = fields.integer("vocab_size", 1, MAX_VOCAB)
    theta, scaling = _rope(fields, family, sizes.head_dim, sizes.max_length)
    bias = fields.boolean("attention_bias", False)
    return Decoder(
        architecture=name,
        vocab_size=vocab_size,
        rope_theta=theta,
        scaling=scaling,
        tied=fields.boolean("tie_word_embeddings", family.tied),
        input_biases=family.input_biases or bias,
        output_bias=bias and not family.input_biases,
        mlp_bias=fields.boolean("mlp_bias", False),
        qk_norm=family.qk_norm,
        window=_window(fields, family),
        layers_without_rope=_layers_without_rope(fields, sizes.num_layers) if family.skips_rope else [],
        bos=token_ids(fields, "bos_token_id", vocab_size),
        eos=token_ids(fields, "eos_token_id", vocab_size),
        **vars(sizes),
    )


def _family(fields: Fields) -> tuple[str, _Family]:
    if fields.get("auto_map") is not None:
        allowed = "null: code that comes with a model (trust_remote_code) is never run"
        raise fields.refuse("auto_map", shown(fields.get("auto_map")), allowed)
    names = fields.list_of("architectures", str)
    known = [name for name in names if name in _FAMILIES]
    if len(names) != 1 or not known:
        raise fields.refuse("architectures", shown(names), "one of " + ", ".join(_FAMILIES))
    family = _FAMILIES[known[0]]
    if fields.text("model_type", family.model_type) != family.model_type:
        raise fields.refuse("model_type", shown(fields.get("model_type")), f'"{family.model_type}" with {known[0]}')
    return known[0], family


def _refuse_what_is_not_ours(fields: Fields) -> None:
    if fields.get("quantization_config") is not None:
        raise fields.refuse("quantization_config", "set", "weights in F32, F16 or BF16, or a GGUF file")
    for key in _FOREIGN:
        if fields.get(key) not in (None, False, 0):
            raise fields.refuse(key, shown(fields.get(key)), "null: no architecture here has it")
    if fields.text("hidden_act", "silu") != "silu":
        raise fields.refuse("hidden_act", shown(fields.get("hidden_act")), '"silu"')
    if fields.number("partial_rotary_factor", 0, 1, 1.0) != 1.0:
        raise fields.refuse("partial_rotary_factor", shown(fields.get("partial_rotary_factor")), "1")
    mixed = [kind for kind in fields.list_of("layer_types", str) if kind != "full_attention"]
    if mixed:
        raise fields.refuse("layer_types", f"{shown(mixed[0])} for some layers", '"full_attention" for all')
    if fields.boolean("use_sliding_window", False):
        raise fields.refuse("use_sliding_window", "true", "false: layers with and without a window are not supported")


def _window(fields: Fields, family: _Family) -> int | None:
    """The window that all layers share, as Mistral's first model has. Elsewhere use_sliding_window rules it."""
    if family.window is None:
        return None
    if "sliding_window" in fields.members and fields.get("sliding_window") is None:
        return None
    return fields.integer("sliding_window", 1, MAX_LENGTH, family.window)


def _layers_without_rope(fields: Fields, layers: int) -> list[int]:
    """no_rope_layers has a 1 for each layer with rope; without it every fourth layer has none."""
    rotates = fields.get("no_rope_layers")
    if rotates is None:
        interval = fields.integer("no_rope_layer_interval", 1, 1 << 20, 4)
        return [i for i in range(layers) if (i + 1) % interval == 0]
    rotates = fields.list_of("no_rope_layers", int)
    if len(rotates) < layers or not set(rotates) <= {0, 1}:
        raise fields.refuse("no_rope_layers", shown(rotates), f"a 0 or a 1 for each of {layers} layers")
    return [i for i in range(layers) if rotates[i] == 0]


def _rope(fields: Fields, family: _Family, head_dim: int, max_length: int) -> tuple[float, RopeScaling]:
    """From rope_theta and rope_scaling, or, as newer folders have it, from rope_parameters."""
    both = fields.child("rope_parameters")
    scaling = both or fields.child("rope_scaling")
    theta = (both or fields).number("rope_theta", 1, 1e12, family.theta)
    if scaling is None:
        return theta, RopeScaling()
    kind = scaling.text("rope_type", scaling.text("type", "default"))
    if kind not in _ROPE_TYPES:
        raise scaling.refuse("rope_type", shown(kind), ", ".join(_ROPE_TYPES))
    if scaling.number("partial_rotary_factor", 0, 1, 1.0) != 1.0:
        raise scaling.refuse("partial_rotary_factor", shown(scaling.get("partial_rotary_factor")), "1")
    return theta, _scaling(kind, scaling, Rope(theta, head_dim), max_length)


def _scaling(kind: str, fields: Fields, rope: Rope, max_length: int) -> RopeScaling:
    if kind == "default":
        return RopeScaling()
    factor = fields.number("factor", 0, 1e6)
    if kind == "linear":
        return rope.linear(factor)
    original = fields.integer("original_max_position_embeddings", 1, MAX_LENGTH, max_length)
    if kind == "llama3":
        low = fields.number("low_freq_factor", 0, 1e6)
        return rope.llama3(factor, low, fields.number("high_freq_factor", low, 1e6), original)
    if not fields.boolean("truncate", True):
        raise fields.refuse("truncate", "false", "true")
    return rope.yarn(
        factor,
        original,
        fields.number("beta_fast", 0, 1e6, 32.0),
        fields.number("beta_slow", 0, 1e6, 1.0),
        _yarn_attention_factor(fields, factor),
    )


def _yarn_attention_factor(fields: Fields, factor: float) -> float:
    if fields.get("attention_factor") is not None:
        return fields.number("attention_factor", 0, 1e3)
    if fields.get("mscale") and fields.get("mscale_all_dim"):
        scales = [fields.number(key, 0, 1e3) for key in ("mscale", "mscale_all_dim")]
        return yarn_sharpening(factor, scales[0]) / yarn_sharpening(factor, scales[1])
    return yarn_sharpening(factor)
