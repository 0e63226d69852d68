"""Bounded shared merges do not grow from level to level; other merges stay as they are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fma_training.stability import bound_merges, merge_radius
from test_model import SMALL, random_model

SHARED = replace(SMALL, fma=replace(SMALL.fma, share_levels=True))
MERGE = "model.layers.0.self_attn.k_downsample.1.weight"


def test_only_growing_merges_change() -> None:
    before = random_model(SHARED).state_dict()
    before[MERGE][: SHARED.fma.rank] = 0.1  # channel 0 shrinks, and keeps its weights
    before[MERGE][SHARED.fma.rank :] *= 10
    after = bound_merges(SHARED, before)
    assert merge_radius(before[MERGE], SHARED.fma.rank).max() > 1
    assert merge_radius(after[MERGE], SHARED.fma.rank).max() < 1 + 1e-6
    assert torch.equal(after[MERGE][: SHARED.fma.rank], before[MERGE][: SHARED.fma.rank])
    assert all(torch.equal(after[n], t) for n, t in before.items() if not n.endswith("_downsample.1.weight"))


def test_levels_of_their_own_are_refused() -> None:
    with pytest.raises(ValueError, match="shared"):
        bound_merges(SMALL, random_model(SMALL).state_dict())
