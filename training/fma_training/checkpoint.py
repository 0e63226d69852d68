"""Checkpoint folders: config.json, model.safetensors (or shards), and tokenizer.model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from .checks import refusal
from .config import FmaConfig
from .model import FmaModel, make_model
from .safetensors_io import load_safetensors, save_safetensors
from .tokenizer import TOKENIZER_FILE

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def load_model(folder: Path, num_levels: int | None = None) -> FmaModel:
    """The float32 model of a folder; `num_levels` gives a model with shared levels another depth."""
    config = FmaConfig.load(folder)
    if num_levels is not None:
        config = replace(config, fma=replace(config.fma, num_levels=num_levels))
    tensors = {name: tensor.float() for name, tensor in load_tensors(folder).items()}
    bias = tensors.get("model.layers.0.self_attn.level_bias.weight")
    model = make_model(config, None if bias is None else bias.shape[1])
    model.load_state_dict({**_optional_biases(model), **tensors})
    return model.eval()


def _optional_biases(model: FmaModel) -> dict[str, Tensor]:
    """Zeros for the biases of LayerNorm, which a checkpoint may lack."""
    return {name: torch.zeros_like(t) for name, t in model.state_dict().items() if name.endswith("norm.bias")}


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of one file, or of the shards that an index names."""
    index = folder / INDEX_FILE
    if not index.is_file():
        return load_safetensors(folder / WEIGHTS_FILE)
    shard_of = json.loads(index.read_text("utf-8"))["weight_map"]
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(shard_of.values())):
        if Path(shard).name != shard:
            raise ValueError(refusal(f"{index}: shard", shard, "a plain file name"))
        tensors.update(load_safetensors(folder / shard))
    return tensors


def save_model(
    folder: Path, config: FmaConfig, tensors: dict[str, Tensor], dtype: str, tokenizer_file: Path | None = None
) -> None:
    """Writes a checkpoint folder with all tensors in `dtype` (a key of DTYPES)."""
    folder.mkdir(parents=True, exist_ok=True)
    replace(config, torch_dtype=dtype).save(folder)
    save_safetensors(folder / WEIGHTS_FILE, {name: tensor.to(DTYPES[dtype]) for name, tensor in tensors.items()})
    if tokenizer_file is not None:
        shutil.copyfile(tokenizer_file, folder / TOKENIZER_FILE)
