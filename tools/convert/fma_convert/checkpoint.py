"""The checkpoint folder that is written (docs/model.md, "Around the attention")."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import blocks
from .blocks import block_weight
from .card import card
from .decoder import Decoder
from .elements import WRITTEN
from .far_field import FarField
from .refusal import refusal
from .safetensors import write_safetensors
from .source import Source
from .tensor import Tensor
from .tokens import id_or_list

KEEP = "keep"
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", KEEP: ""}
Written = dict[str, tuple[Tensor, str]]
_SPARE_BYTES = 64 << 20  # for what stands beside the weights


@dataclass(frozen=True)
class Numbers:
    """How weights are written: `dtype` of DTYPES, and `weights` of blocks.KINDS for the large ones, None: like all."""

    dtype: str = KEEP
    weights: str | None = None


def write_checkpoint(
    out: Path, source: Source, far: FarField, tensors: Written, written: Callable[[int], object]
) -> None:
    """Makes the folder `out`, whole or not at all. `written` is told of every slice's bytes."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise refusal(str(out), "there already", "a new folder, or an empty one")
    out.parent.mkdir(parents=True, exist_ok=True)
    _check_space(out.parent, weight_bytes(tensors) + sum(map(len, source.texts.tokenizer.values())))
    partial = Path(tempfile.mkdtemp(prefix=f"{out.name}.partial-", dir=out.parent))
    try:
        text = json.dumps(config(source.decoder, far, _main_format(tensors)), indent=2)
        (partial / "config.json").write_text(text + "\n", "utf-8")
        (partial / "README.md").write_text(card(source, far), "utf-8")
        source.texts.write(partial)
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


def written_tensors(source: Source, numbers: Numbers) -> Written:
    """The tensors of the file, with their formats."""
    tensors: Written = {}
    for name, tensor in source.tensors.items():
        weight = block_weight(name, tensor, numbers.weights)
        if weight is not None:
            tensors |= blocks.written(name, weight)
        else:
            tensors[name] = (tensor, DTYPES[numbers.dtype] or tensor.kept_as)
    return tensors


def weight_bytes(tensors: Written) -> int:
    return sum(math.prod(tensor.shape) * WRITTEN[kind] for tensor, kind in tensors.values())


def _main_format(tensors: Written) -> str:
    """That of the first product, or of the norms where products are integers."""
    names = {kind: name for name, kind in DTYPES.items()}
    kinds = [tensors[name][1] for name in ("model.layers.0.self_attn.q_proj.weight", "model.norm.weight")]
    return next(names[kind] for kind in kinds if kind in names)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise refusal(f"{folder}: free space", f"{free} bytes", f"at least {needed + _SPARE_BYTES}")
