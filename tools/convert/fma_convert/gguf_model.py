"""The model of a GGUF file: the metadata of four architectures, and tensors under our names."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from .decoder import MAX_LENGTH, Decoder, SizeKeys, read_sizes
from .fields import Fields
from .gguf_file import GgufFile
from .refusal import Refused, refusal, shown
from .rope import Rope, RopeScaling, yarn_sharpening
from .tensor import StoredTensor
from .tokens import token_ids

# Of these, rotary pairs of q and k are neighbours in a GGUF file; Qwen's are d/2 apart, as ours are.
_NEIGHBOURING_PAIRS = ("llama", "smollm3")
_ARCHITECTURES = (*_NEIGHBOURING_PAIRS, "qwen2", "qwen3")
_SMOLLM3_INTERVAL = 4  # every fourth layer is without rope; GGUF files do not say it
_END_TOKENS = ("eos_token_id", "eot_token_id", "eom_token_id")
_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LAYER_NAME = re.compile(r"blk\.(0|[1-9]\d{0,3})\.(\w+)\.(weight|bias)", re.ASCII)
_ROPE_FACTORS = "rope_freqs.weight"


def read_decoder(file: GgufFile, where: str) -> Decoder:
    fields = Fields(file.metadata, where)
    arch = fields.text("general.architecture")
    if arch not in _ARCHITECTURES:
        raise fields.refuse("general.architecture", shown(arch), ", ".join(_ARCHITECTURES))
    _refuse_what_is_not_ours(fields, arch)
    sizes = read_sizes(fields, _size_keys(arch))
    for key in ("attention.value_length", "rope.dimension_count"):
        width = fields.integer(f"{arch}.{key}", 1, 1 << 16, sizes.head_dim)
        if width != sizes.head_dim:
            raise fields.refuse(f"{arch}.{key}", str(width), f"{sizes.head_dim}, the head dimension")
    embeddings = file.tensors.get("token_embd.weight")
    if embeddings is None:
        raise Refused(f"{where}: tensor token_embd.weight is missing")
    theta = fields.number(f"{arch}.rope.freq_base", 1, 1e12, 10000.0)
    vocab_size = embeddings.shape[0]
    window = fields.integer(f"{arch}.attention.sliding_window", 0, MAX_LENGTH, 0)
    interval = _SMOLLM3_INTERVAL if arch == "smollm3" else sizes.num_layers + 1
    return Decoder(
        architecture=arch,
        vocab_size=vocab_size,
        rope_theta=theta,
        scaling=_scaling(file, fields, arch, Rope(theta, sizes.head_dim)),
        tied="output.weight" not in file.tensors,
        input_biases="blk.0.attn_q.bias" in file.tensors,
        output_bias="blk.0.attn_output.bias" in file.tensors,
        mlp_bias="blk.0.ffn_up.bias" in file.tensors,
        qk_norm=arch == "qwen3",
        window=window or None,
        layers_without_rope=[i for i in range(sizes.num_layers) if (i + 1) % interval == 0],
        bos=token_ids(fields, "tokenizer.ggml.bos_token_id", vocab_size),
        eos=sorted({i for key in _END_TOKENS for i in token_ids(fields, f"tokenizer.ggml.{key}", vocab_size)}),
        **vars(sizes),
    )


def our_tensors(file: GgufFile, decoder: Decoder) -> dict[str, StoredTensor]:
    """Tensors by our names."""
    tensors = {}
    for name, tensor in file.tensors.items():
        if name == _ROPE_FACTORS:
            continue
        ours = _our_name(name)
        if ours is None:
            raise Refused(f"{tensor.where}: no such tensor in {decoder.architecture}")
        rotary = re.search(r"\.[qk]_proj\.", ours) and decoder.architecture in _NEIGHBOURING_PAIRS
        tensors[ours] = replace(tensor, pairs=decoder.head_dim) if rotary else tensor
    return tensors


def _our_name(name: str) -> str | None:
    match = _LAYER_NAME.fullmatch(name)
    if match and match[2] in _LAYER:
        return f"model.layers.{int(match[1])}.{_LAYER[match[2]]}.{match[3]}"
    return _TOP.get(name)


def _size_keys(arch: str) -> SizeKeys:
    return SizeKeys(
        hidden=f"{arch}.embedding_length",
        inner=f"{arch}.feed_forward_length",
        layers=f"{arch}.block_count",
        heads=f"{arch}.attention.head_count",
        kv_heads=f"{arch}.attention.head_count_kv",
        head_dim=f"{arch}.attention.key_length",
        length=f"{arch}.context_length",
        eps=f"{arch}.attention.layer_norm_rms_epsilon",
    )


def _refuse_what_is_not_ours(fields: Fields, arch: str) -> None:
    if fields.integer("split.count", 0, 1 << 16, 0) > 1:
        raise fields.refuse("split.count", shown(fields.get("split.count")), "one file: merge its parts first")
    for key in ("expert_count", "nextn_predict_layers"):
        if fields.integer(f"{arch}.{key}", 0, 1 << 16, 0):
            raise fields.refuse(f"{arch}.{key}", shown(fields.get(f"{arch}.{key}")), "0: no architecture here has it")


def _scaling(file: GgufFile, fields: Fields, arch: str, rope: Rope) -> RopeScaling:
    def key(name: str) -> str:
        return f"{arch}.rope.scaling.{name}"

    kind = fields.text(key("type"), "none")
    factors = file.tensors.get(_ROPE_FACTORS)
    if factors is not None:
        return RopeScaling(_rope_factors(factors, fields.get(key("type")), rope.head_dim // 2))
    if kind == "none":
        return RopeScaling()
    if kind not in ("linear", "yarn"):
        raise fields.refuse(key("type"), shown(kind), "none, linear, yarn")
    factor = fields.number(key("factor"), 0, 1e6)
    if kind == "linear":
        return rope.linear(factor)
    for name, usual in (("yarn_log_multiplier", 0), ("yarn_ext_factor", 1), ("yarn_attn_factor", 1)):
        if fields.get(key(name)) not in (None, usual):
            raise fields.refuse(key(name), shown(fields.get(key(name))), str(usual))
    return rope.yarn(
        factor,
        fields.integer(key("original_context_length"), 1, MAX_LENGTH),
        fields.number(key("yarn_beta_fast"), 0, 1e6, 32.0),
        fields.number(key("yarn_beta_slow"), 0, 1e6, 1.0),
        yarn_sharpening(factor) * fields.number(key("attn_factor"), 0, 1e3, 1.0),
    )


def _rope_factors(tensor: StoredTensor, kind: Any, pairs: int) -> list[float]:
    if tensor.shape != (pairs,):
        raise refusal(f"{tensor.where}: shape", shown(tensor.shape), f"[{pairs}], half of the head dimension")
    if kind not in (None, "none"):
        raise refusal(f"{tensor.where} beside rope scaling", shown(kind), "none")
    values = [float(x) for x in tensor.rows(0, pairs, "F32").view("<f4").flatten()]
    if not all(0 < x <= 1e6 for x in values):
        raise refusal(f"{tensor.where}: values", shown(values), "numbers above 0 and up to 1e6")
    return values
