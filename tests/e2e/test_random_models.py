"""Random small models of every kind, written by the exporter: the server's logits are PyTorch's."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import BIN, run
from fma_training.checkpoint import load_model, save_model
from fma_training.config import MLPS, NORMS, POSITIONS, FmaConfig, FmaSettings
from fma_training.model import FmaForCausalLM
from fma_training.settings import PADDINGS

# The downsamplings that have summaries.
SUMMARIES = ("grouped_conv", "conv", "average", "hierarchical")
LENGTH = 150


def random_config(draw: random.Random) -> FmaConfig:
    position = draw.choice(POSITIONS)
    downsampling = draw.choice(SUMMARIES)
    group_size = draw.choice((2, 4, 8, 12))
    flip = (False, True)
    settings = FmaSettings(
        group_size=group_size,
        rank=draw.choice([p for p in (1, 2, 4) if group_size % p == 0]),
        num_levels=draw.randint(1, 4),
        downsampling=downsampling,
        share_levels=downsampling == "hierarchical" and draw.choice(flip),
        scale_far_field=draw.choice(flip),
        padding=draw.choice(PADDINGS),
        level_bias=draw.choice(flip),
        sink_tokens=draw.choice((0, 1, group_size)),
        far_positions=draw.choice(("center", "none")) if position == "rope" else None,
    )
    kv_heads = draw.choice((1, 2))
    head_dim = draw.choice((4, 8, 20))
    return FmaConfig(
        vocab_size=draw.choice((50, 64, 131)),
        hidden_size=draw.choice((16, 24, 40)),
        intermediate_size=draw.choice((24, 48)),
        num_hidden_layers=2,
        num_attention_heads=kv_heads * draw.choice((1, 2, 3)),
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        max_position_embeddings=160,
        fma=settings,
        position_embedding=position,
        norm=draw.choice(NORMS),
        mlp=draw.choice(MLPS),
        attention_bias=draw.choice(flip),
        mlp_bias=draw.choice(flip),
        tie_word_embeddings=draw.choice(flip),
        qk_norm=draw.choice(flip),
        **(rope_options(head_dim // 2, draw) if position == "rope" else {}),
    )


def rope_options(pairs: int, draw: random.Random) -> dict[str, Any]:
    return {
        "rope_factors": draw.choice((None, [draw.uniform(0.5, 9) for _ in range(pairs)])),
        "rope_attention_factor": draw.choice((1.0, 1.2)),
        "layers_without_rope": draw.choice((None, None, [0], [1], [0, 1])),
    }


def selecting(config: FmaConfig, draw: random.Random) -> FmaConfig:
    """The same with selected tokens, and as many tokens as a text has."""
    fma = config.fma
    sinks = min(fma.sink_tokens, fma.group_size - 1)
    rank = draw.randint(1, fma.group_size - sinks)
    rope = config.position_embedding == "rope"
    positions = draw.choice(("own", "none")) if rope else None
    selected = replace(
        fma,
        downsampling="select",
        rank=rank,
        sink_tokens=sinks,
        share_levels=False,
        scale_far_field=False,
        padding="masked",
        far_positions=positions,
        select_lag=draw.choice((None, draw.randrange(2 * fma.group_size))),
        select_novel=draw.choice((None, draw.randint(0, rank))),
        max_distance=draw.choice((0, fma.group_size * draw.randint(4, 12))) if positions == "own" else 0,
    )
    return replace(config, vocab_size=LENGTH, fma=selected)


@pytest.mark.parametrize("seed", range(40))
def test_logits_are_the_same(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    config = random_config(draw)
    tokens = [draw.randrange(config.vocab_size) for _ in range(LENGTH)]
    compare(config, tokens, seed, tmp_path)


@pytest.mark.parametrize("seed", range(40, 60))
def test_selected_tokens_give_the_same_logits(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    config = selecting(random_config(draw), draw)
    # Equal tokens have equal keys, which rounding could order.
    compare(config, draw.sample(range(LENGTH), LENGTH), seed, tmp_path)


def compare(config: FmaConfig, tokens: list[int], seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    torch.manual_seed(seed)
    columns = draw.randint(1, config.fma.num_levels) if config.fma.level_bias else None
    model = FmaForCausalLM(config, columns)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    save_model(tmp_path, config, model.state_dict(), draw.choice(("float32", "float16", "bfloat16")))

    (tmp_path / "tokens.json").write_text(str(tokens))
    with torch.no_grad():
        expected = load_model(tmp_path)(torch.tensor([tokens]))[0].log_softmax(-1).numpy()
    run(
        BIN / "fma-eval", "--model", tmp_path, "--token-ids", tmp_path / "tokens.json",
        "--logits", tmp_path / "logits.npy", "--chunk", draw.choice((1, 9, 256)),
    )  # fmt: skip
    logits = torch.from_numpy(np.load(tmp_path / "logits.npy")).log_softmax(-1).numpy()
    assert np.abs(logits - expected).max() <= 1e-3, config
