"""The converter of nanoGPT-style checkpoints."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fma_training.checkpoint import load_model
from fma_training.config import FmaConfig, FmaSettings
from fma_training.convert_nanogpt import ConversionError, convert, load_plain, main
from fma_training.model import FmaForCausalLM
from reference import Reference
from test_model import SMALL, numpy_tensors, random_model
from torch import Tensor

PAPER = replace(
    SMALL, num_key_value_heads=4, max_position_embeddings=64, position_embedding="learned", norm="layernorm",
    mlp="gelu", attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
    fma=FmaSettings(4, 2, 3, "grouped_conv", scale_far_field=True, padding="zero_keys"),
)  # fmt: skip
ARGUMENTS = {
    "n_layer": 2, "n_head": 4, "n_embd": 16, "block_size": 64, "bias": True, "vocab_size": 24, "m": 4, "p": 2,
    "scale_attn": True, "downsampling": "groupedconv",
}  # fmt: skip
NAMES = [
    ("model.embed_tokens", "transformer.wte"), ("model.embed_positions", "transformer.wpe"),
    ("model.norm", "transformer.ln_f"), ("model.layers", "transformer.h"), ("input_layernorm", "ln_1"),
    ("post_attention_layernorm", "ln_2"), ("self_attn.o_proj", "attn.c_proj"), ("mlp.up_proj", "mlp.c_fc"),
    ("mlp.down_proj", "mlp.c_proj"), ("self_attn.k_downsample", "attn.attn.conv_k"),
    ("self_attn.v_downsample", "attn.attn.conv_v"),
]  # fmt: skip


def as_nanogpt(model: FmaForCausalLM, prefix: str = "") -> OrderedDict[str, Tensor]:
    """The tensors of a model under the names of the paper's code."""
    state: OrderedDict[str, Tensor] = OrderedDict()
    ours = model.state_dict()
    for name, tensor in ours.items():
        if "k_proj" in name or "v_proj" in name:
            continue
        if "q_proj" in name:
            tensor = torch.cat([ours[name.replace("q_proj", f"{x}_proj")] for x in "qkv"])
            name = name.replace("self_attn.q_proj", "attn.c_attn")
        for new, old in NAMES:
            name = name.replace(new, old)
        state[prefix + name] = tensor
    state[prefix + "lm_head.weight"] = state[prefix + "transformer.wte.weight"]
    return state


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_round_trip(tmp_path: Path, prefix: str) -> None:
    model = random_model(PAPER)
    checkpoint = {"model": as_nanogpt(model, prefix), "model_args": ARGUMENTS, "iter_num": 7}
    torch.save(checkpoint, tmp_path / "ckpt.pt")
    main([str(tmp_path / "ckpt.pt"), str(tmp_path / "out")])
    converted = load_model(tmp_path / "out")
    assert converted.config == PAPER
    tokens = torch.arange(60) * 5 % 24
    with torch.no_grad():
        logits = converted(tokens[None])[0]
        assert torch.equal(logits, model(tokens[None])[0])
    expected = Reference(FmaConfig.load(tmp_path / "out"), numpy_tensors(model)).logits(tokens.tolist())
    assert np.abs(logits.numpy() - expected).max() < 2e-4


def test_plain_state_dict_with_masks_and_without_biases() -> None:
    state = as_nanogpt(random_model(PAPER))
    plain = {n: t for n, t in state.items() if not n.endswith("bias") or "conv_" in n}
    plain["transformer.h.0.attn.bias"] = torch.ones(1, 1, 64, 64)
    config, tensors = convert({**plain, "config": {**ARGUMENTS, "bias": False}})
    assert not config.attention_bias and config.tie_word_embeddings
    assert not any(n.endswith("bias") and "downsample" not in n for n in tensors)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"m": 5}, r"block_size is 64; allowed: m \(5\) times a power of two"),
        ({"downsampling": "max"}, 'downsampling is "max"; allowed: '),
        ({"n_head": None}, "n_head is missing"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], message: str) -> None:
    arguments = {n: v for n, v in {**ARGUMENTS, **changes}.items() if v is not None}
    with pytest.raises(ConversionError, match=message):
        convert({"model": as_nanogpt(random_model(PAPER)), "model_args": arguments})


def test_unknown_tensor() -> None:
    state = {**as_nanogpt(random_model(PAPER)), "transformer.extra.weight": torch.ones(1)}
    with pytest.raises(ConversionError, match=r"tensor transformer\.extra\.weight is unknown"):
        convert({"model": state, "model_args": ARGUMENTS})


def test_no_tensors() -> None:
    with pytest.raises(ConversionError, match="embed_tokens"):
        convert({"model_args": ARGUMENTS})


class Trap:
    """An object whose unpickling would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("/nonexistent/trap"),)


def test_pickles_of_objects_are_refused(tmp_path: Path) -> None:
    torch.save({"model": {}, "trap": Trap()}, tmp_path / "ckpt.pt")
    with pytest.raises(ConversionError, match="refused"):
        load_plain(tmp_path / "ckpt.pt")
