"""Converts a checkpoint of the paper's nanoGPT-style code into a checkpoint folder.

    python3 -m fma_training.convert_nanogpt ckpt.pt FOLDER --tokenizer tokenizer.model

A .pt file is a pickle, and a pickle can run code. This program lets PyTorch load tensors and plain
values only (weights_only) and refuses every other file; it has no switch to trust one. PyTorch 1.13 counts
no floating-point number as a plain value, so most checkpoints need PyTorch 2.
"""

from __future__ import annotations

import argparse
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint import DTYPES, save_model
from .checks import Words, refusal
from .config import FmaConfig, FmaSettings

_DOWNSAMPLINGS = {"groupedconv": "grouped_conv", "conv": "conv", "avgpool": "average"}
_ARGUMENTS = (
    "n_layer",
    "n_head",
    "n_embd",
    "block_size",
    "bias",
    "vocab_size",
    "m",
    "p",
    "scale_attn",
    "downsampling",
)
_TOP_NAMES = {
    "transformer.wte.weight": "model.embed_tokens.weight",
    "transformer.wpe.weight": "model.embed_positions.weight",
    "transformer.ln_f.weight": "model.norm.weight",
    "transformer.ln_f.bias": "model.norm.bias",
    "lm_head.weight": "lm_head.weight",
}
_LAYER_NAMES = {
    "ln_1": "input_layernorm",
    "ln_2": "post_attention_layernorm",
    "attn.c_proj": "self_attn.o_proj",
    "mlp.c_fc": "mlp.up_proj",
    "mlp.c_proj": "mlp.down_proj",
}
_LAYER = re.compile(r"transformer\.h\.(\d+)\.(.+)\.(weight|bias)")
_DOWNSAMPLE = re.compile(r"attn\.attn\.conv_([kv])\.(\d+)")
_CAUSAL_MASK = re.compile(r"transformer\.h\.\d+\.attn\.bias")  # nanoGPT's buffer, not a weight


class ConversionError(ValueError):
    """A file that is not a checkpoint of the known layout."""


def load_plain(path: Path) -> dict[str, Any]:
    """Loads a .pt file of tensors and plain values."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConversionError(
            refusal(str(path), Words(f"refused by PyTorch ({error})"), "tensors and plain values only")
        ) from error
    if not isinstance(checkpoint, dict):
        raise ConversionError(refusal(str(path), Words(f"a {type(checkpoint).__name__}"), "a dictionary"))
    return checkpoint


def convert(checkpoint: dict[str, Any]) -> tuple[FmaConfig, dict[str, Tensor]]:
    """Config and tensors of a loaded checkpoint."""
    arguments = {**checkpoint.get("config", {}), **checkpoint.get("model_args", {})}
    missing = [name for name in _ARGUMENTS if name not in arguments]
    if missing:
        raise ConversionError(refusal(", ".join(missing), Words("missing"), "a value in model_args or config"))
    state = checkpoint.get("model", checkpoint)
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if isinstance(tensor, Tensor):
            tensors.update(_renamed(name[len("_orig_mod.") :] if name.startswith("_orig_mod.") else name, tensor))
    for name in ("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"):
        if name not in tensors:
            raise ConversionError(refusal(f"tensor that becomes {name}", Words("missing"), "one"))
    head = tensors.get("lm_head.weight")
    tied = head is None or torch.equal(head, tensors["model.embed_tokens.weight"])
    if tied:
        tensors.pop("lm_head.weight", None)
    inner = tensors["model.layers.0.mlp.up_proj.weight"].shape[0]
    return _config(arguments, inner, tied), {name: tensor.contiguous() for name, tensor in tensors.items()}


def _config(arguments: dict[str, Any], intermediate_size: int, tied: bool) -> FmaConfig:
    downsampling = _DOWNSAMPLINGS.get(arguments["downsampling"])
    if downsampling is None:
        raise ConversionError(refusal("downsampling", arguments["downsampling"], ", ".join(_DOWNSAMPLINGS)))
    block_size, m, heads = arguments["block_size"], arguments["m"], arguments["n_head"]
    levels = (block_size // m).bit_length() - 2  # log2(block_size / m) - 1
    if block_size != m << (levels + 1):
        raise ConversionError(refusal("block_size", block_size, f"m ({m}) times a power of two"))
    return FmaConfig(
        vocab_size=arguments["vocab_size"],
        hidden_size=arguments["n_embd"],
        intermediate_size=intermediate_size,
        num_hidden_layers=arguments["n_layer"],
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=arguments["n_embd"] // heads,
        max_position_embeddings=block_size,
        position_embedding="learned",
        norm="layernorm",
        mlp="gelu",
        attention_bias=bool(arguments["bias"]),
        mlp_bias=bool(arguments["bias"]),
        tie_word_embeddings=tied,
        fma=FmaSettings(
            group_size=m,
            rank=arguments["p"],
            num_levels=levels,
            downsampling=downsampling,
            scale_far_field=bool(arguments["scale_attn"]),
            padding="zero_keys",
        ),
    )


def _renamed(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """The tensors that an old tensor becomes."""
    if name in _TOP_NAMES:
        return {_TOP_NAMES[name]: tensor}
    match = _LAYER.fullmatch(name)
    if _CAUSAL_MASK.fullmatch(name):
        return {}
    if not match:
        raise ConversionError(refusal(f"tensor {name}", Words("unknown"), "tensors of the paper's code"))
    layer, module, kind = match.groups()
    prefix = f"model.layers.{layer}."
    if module == "attn.c_attn":
        return {f"{prefix}self_attn.{x}_proj.{kind}": part for x, part in zip("qkv", tensor.chunk(3))}
    downsample = _DOWNSAMPLE.fullmatch(module)
    if downsample:
        return {f"{prefix}self_attn.{downsample[1]}_downsample.{downsample[2]}.{kind}": tensor}
    if module not in _LAYER_NAMES:
        raise ConversionError(refusal(f"tensor {name}", Words("unknown"), "tensors of the paper's code"))
    return {f"{prefix}{_LAYER_NAMES[module]}.{kind}": tensor}


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="the .pt file")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.model to put beside the weights")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="(default %(default)s)")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    arguments = parse_arguments(words)
    config, tensors = convert(load_plain(arguments.checkpoint))
    save_model(arguments.out, config, tensors, arguments.dtype, arguments.tokenizer)
    print(f"{arguments.out}: {sum(t.numel() for t in tensors.values())} parameters, {arguments.dtype}")


if __name__ == "__main__":
    main()
