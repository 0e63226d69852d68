"""Random small models of every allowed shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from fma_training.config import FmaConfig, FmaSettings
from test_model import SMALL

T = TypeVar("T")


def random_encoder(rng: np.random.Generator) -> FmaConfig:
    group_size = _one(rng, [1, 2, 4, 6, 8])
    downsampling = _one(rng, ["grouped_conv", "conv", "average", "hierarchical"])
    positions = _one(rng, ["rope", "rope", "learned", "none"])
    settings = FmaSettings(
        group_size,
        rank=_one(rng, _divisors(group_size)),
        num_levels=int(rng.integers(1, 5)),
        downsampling=downsampling,
        share_levels=downsampling == "hierarchical" and _coin(rng),
        scale_far_field=_coin(rng),
        level_bias=_coin(rng),
        far_positions=_one(rng, [None, "none", "center"]) if positions == "rope" else None,
        causal=False,
        query_downsampling=_coin(rng),
    )
    return replace(SMALL, fma=settings, position_embedding=positions, num_key_value_heads=_one(rng, [1, 2, 4]))


def random_selector(rng: np.random.Generator) -> FmaConfig:
    group_size = _one(rng, [2, 4, 6, 8])
    sinks = int(rng.integers(0, group_size))
    rank = int(rng.integers(1, group_size - sinks + 1))
    positions = _one(rng, ["rope", "rope", "rope", "learned", "none"])
    far = _one(rng, [None, "own", "none"]) if positions == "rope" else None
    bounded = positions == "rope" and far != "none" and _coin(rng)
    settings = FmaSettings(
        group_size,
        rank,
        num_levels=int(rng.integers(1, 5)),
        downsampling="select",
        level_bias=_coin(rng),
        sink_tokens=sinks,
        far_positions=far,
        select_lag=_one(rng, [None, int(rng.integers(0, 2 * group_size))]),
        select_novel=_one(rng, [None, int(rng.integers(0, rank + 1))]),
        max_distance=int(rng.integers(4, 14)) * group_size + _one(rng, [0, 1]) if bounded else 0,
        open_units=int(rng.integers(0, 5)),
        open_size=_one(rng, _divisors(group_size)),
    )
    config = replace(SMALL, vocab_size=128, fma=settings, position_embedding=positions)
    config = replace(config, num_key_value_heads=_one(rng, [1, 2, 4]), qk_norm=_coin(rng))
    if positions != "rope" or _coin(rng):
        return config
    return replace(
        config,
        rope_factors=_one(rng, [None, rng.uniform(0.5, 9, config.head_dim // 2).tolist()]),
        rope_attention_factor=_one(rng, [1.0, 1.2]),
        layers_without_rope=_one(rng, [None, [0], [1], [0, 1]]),
    )


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _one(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]


def _coin(rng: np.random.Generator) -> bool:
    return bool(rng.integers(2))
