"""Writes GGUF files as llama.cpp's own converter does: names, metadata, and the order of rotary pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from floats import read_floats

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TOKENS = [chr(ord("0") + i) for i in range(48)]
VOCABULARY = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [3, 3, 3] + [1] * 45,
    "tokenizer.ggml.merges": ["A B"],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.add_bos_token": False,
}
VOCABULARY["tokenizer.ggml.tokens"] = [*TOKENS[:-1], "AB"]
NEIGHBOURS = ("llama", "smollm3")


def architecture_metadata(arch: str, config: dict[str, Any]) -> dict[str, Any]:
    """Of a converted folder's config.json."""
    values = {
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "block_count": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.key_length": config["head_dim"],
        "attention.value_length": config["head_dim"],
        "attention.layer_norm_rms_epsilon": config["norm_eps"],
        "rope.dimension_count": config["head_dim"],
        "rope.freq_base": config["rope_theta"],
    }
    return {"general.architecture": arch, **{f"{arch}.{key}": value for key, value in values.items()}}


def write_gguf(
    path: Path,
    metadata: dict[str, Any],
    tensors: dict[str, np.ndarray],
    kinds: dict[str, gguf.GGMLQuantizationType] | None = None,
) -> None:
    """`kinds` by name; F32 where there is none."""
    writer = gguf.GGUFWriter(path, metadata["general.architecture"])
    for key, value in metadata.items():
        if key != "general.architecture":
            add(writer, key, value)
    for name, tensor in tensors.items():
        kind = (kinds or {}).get(name, gguf.GGMLQuantizationType.F32)
        writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_quantised(path: Path, kind: gguf.GGMLQuantizationType) -> dict[str, np.ndarray]:
    """A small random llama whose matrices are all of `kind`; its numbers before they were quantised."""
    metadata: dict[str, Any] = {
        "embedding_length": 32, "feed_forward_length": 64, "block_count": 1, "context_length": 256,
        "attention.head_count": 4, "attention.head_count_kv": 2, "attention.key_length": 8,
        "attention.value_length": 8, "attention.layer_norm_rms_epsilon": 1e-5, "rope.dimension_count": 8,
        "rope.freq_base": 10000.0,
    }  # fmt: skip
    shapes = {
        "token_embd.weight": (48, 32), "output_norm.weight": (32,), "blk.0.attn_norm.weight": (32,),
        "blk.0.ffn_norm.weight": (32,), "blk.0.attn_q.weight": (32, 32), "blk.0.attn_k.weight": (16, 32),
        "blk.0.attn_v.weight": (16, 32), "blk.0.attn_output.weight": (32, 32), "blk.0.ffn_gate.weight": (64, 32),
        "blk.0.ffn_up.weight": (64, 32), "blk.0.ffn_down.weight": (32, 64),
    }  # fmt: skip
    rng = np.random.default_rng(1)
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    named = {f"llama.{key}": value for key, value in metadata.items()}
    quantised = dict.fromkeys((name for name, shape in shapes.items() if len(shape) == 2), kind)
    write_gguf(path, {"general.architecture": "llama", **named, **VOCABULARY}, tensors, quantised)
    return tensors


def add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    kinds = ((bool, writer.add_bool), (int, writer.add_uint32), (float, writer.add_float32), (str, writer.add_string))
    for kind, add_one in kinds:
        if isinstance(value, kind):
            add_one(key, value)
            return
    writer.add_array(key, value)


def gguf_tensors(arch: str, config: dict[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """The weights of a converted folder under GGUF's names."""
    tensors = {}
    for name, tensor in read_floats(folder / "model.safetensors").items():
        if name.endswith("o_proj.bias") and not tensor.any():
            continue  # ours, where the model has none
        if arch in NEIGHBOURS and ("q_proj" in name or "k_proj" in name):
            heads = tensor.reshape(-1, 2, config["head_dim"] // 2, *tensor.shape[1:])
            tensor = heads.swapaxes(1, 2).reshape(tensor.shape)
        tensors[gguf_name(name)] = tensor
    return tensors


def gguf_name(name: str) -> str:
    module, kind = name.rsplit(".", 1)
    if module.startswith("model.layers."):
        _, _, layer, inner = module.split(".", 3)
        return f"blk.{layer}.{NAMES[inner]}.{kind}"
    return f"{NAMES[module]}.{kind}"
