"""The checkpoint folder that is written (docs/model.md, "Around the attention")."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .card import card
from .decoder import Decoder
from .elements import PLAIN
from .far_field import FarField
from .refusal import refusal
from .safetensors import write_safetensors
from .source import Source
from .tokens import id_or_list

KEEP = "keep"
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", KEEP: ""}
_SPARE_BYTES = 64 << 20  # for what stands beside the weights


def write_checkpoint(out: Path, source: Source, far: FarField, dtype: str, written: Callable[[int], object]) -> None:
    """Makes the folder `out`, whole or not at all. `written` is told of every slice's bytes."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise refusal(str(out), "there already", "a new folder, or an empty one")
    out.parent.mkdir(parents=True, exist_ok=True)
    kinds = formats(source, dtype)
    _check_space(out.parent, weight_bytes(source, dtype) + sum(map(len, source.texts.tokenizer.values())))
    partial = Path(tempfile.mkdtemp(prefix=f"{out.name}.partial-", dir=out.parent))
    try:
        text = json.dumps(config(source.decoder, far, _main_format(kinds)), indent=2)
        (partial / "config.json").write_text(text + "\n", "utf-8")
        (partial / "README.md").write_text(card(source, far), "utf-8")
        source.texts.write(partial)
        tensors = {name: (tensor, kinds[name]) for name, tensor in source.tensors.items()}
        write_safetensors(partial / "model.safetensors", tensors, written)
        partial.chmod(0o755)
        os.replace(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def config(decoder: Decoder, far: FarField, torch_dtype: str) -> dict[str, Any]:
    """The object of config.json; what is off is left out."""
    values: dict[str, Any] = {
        "architectures": ["FmaForCausalLM"],
        "model_type": "fma",
        "vocab_size": decoder.vocab_size,
        "hidden_size": decoder.hidden_size,
        "intermediate_size": decoder.intermediate_size,
        "num_hidden_layers": decoder.num_layers,
        "num_attention_heads": decoder.num_heads,
        "num_key_value_heads": decoder.num_kv_heads,
        "head_dim": decoder.head_dim,
        "max_position_embeddings": decoder.max_length,
        "position_embedding": "rope",
        "rope_theta": decoder.rope_theta,
        "norm": "rmsnorm",
        "norm_eps": decoder.norm_eps,
        "mlp": "swiglu",
        "attention_bias": decoder.attention_bias,
        "mlp_bias": decoder.mlp_bias,
        "tie_word_embeddings": decoder.tied,
        "bos_token_id": id_or_list(decoder.bos),
        "eos_token_id": id_or_list(decoder.eos),
        "torch_dtype": torch_dtype,
    }
    if decoder.qk_norm:
        values["qk_norm"] = True
    if decoder.scaling.factors is not None:
        values["rope_factors"] = decoder.scaling.factors
    if decoder.scaling.attention_factor != 1.0:
        values["rope_attention_factor"] = decoder.scaling.attention_factor
    if decoder.layers_without_rope:
        values["layers_without_rope"] = decoder.layers_without_rope
    return {**values, "fma": far.config()}


def formats(source: Source, dtype: str) -> dict[str, str]:
    """The plain format of every tensor."""
    return {name: DTYPES[dtype] or tensor.kept_as for name, tensor in source.tensors.items()}


def weight_bytes(source: Source, dtype: str) -> int:
    kinds = formats(source, dtype)
    return sum(math.prod(tensor.shape) * PLAIN[kinds[name]] for name, tensor in source.tensors.items())


def _main_format(kinds: dict[str, str]) -> str:
    return next(name for name, kind in DTYPES.items() if kind == kinds["model.layers.0.self_attn.q_proj.weight"])


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise refusal(f"{folder}: free space", f"{free} bytes", f"at least {needed + _SPARE_BYTES}")
