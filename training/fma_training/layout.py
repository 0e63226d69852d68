"""Which far-field groups each block of m queries sees ("Who sees what" of the definition).

All queries of fine group b see the same far-field groups, so a layout has one row per block.
It depends on the number of blocks alone and is made once per sequence length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .config import FmaSettings


@dataclass(frozen=True)
class FarLayout:
    """Far-field lists of G query blocks, two slots for each of `levels` levels."""

    levels: int  # levels that some block sees: the rest cannot change any output
    group_index: Tensor  # [G * slots] into all summaries, level by level; 0 is a group of zeros
    visible: Tensor  # [G, slots * p] bool
    level: Tensor  # [slots * p] level of each listed summary, counted from 0


def far_layout(settings: FmaSettings, blocks: int, device: torch.device) -> FarLayout:
    """The far-field lists of a sequence of `blocks` fine groups."""
    zero_keys = settings.padding == "zero_keys"
    levels = settings.num_levels if zero_keys else _visible_levels(settings.num_levels, blocks)
    block = torch.arange(blocks)
    indices, visible = [], []
    first = 1
    for level in range(levels):
        own = block >> level
        for distance in (2, 3):
            group = own - distance
            exists = group >= 0
            listed = torch.ones_like(exists) if distance == 2 else own % 2 == 1
            indices.append(torch.where(exists, group + first, 0))
            visible.append(listed if zero_keys else listed & exists)
        first += blocks >> level
    slots = 2 * levels
    seen = torch.stack(visible, 1) if slots else torch.zeros(blocks, 0, dtype=torch.bool)
    index = torch.stack(indices, 1) if slots else torch.zeros(blocks, 0, dtype=torch.long)
    return FarLayout(
        levels,
        index.flatten().to(device),
        seen.repeat_interleave(settings.rank, 1).to(device),
        torch.arange(levels).repeat_interleave(2 * settings.rank).to(device),
    )


def near_mask(settings: FmaSettings, blocks: int, device: torch.device) -> Tensor:
    """Which near-field keys a query sees [G, m, 2m + s] bool: previous group, own group, sinks."""
    m = settings.group_size
    previous = torch.ones(blocks, m, m, dtype=torch.bool)
    previous[0] = settings.padding == "zero_keys"
    own = torch.ones(m, m, dtype=torch.bool).tril().expand(blocks, m, m)
    sinks = torch.zeros(blocks, m, settings.sink_tokens, dtype=torch.bool)
    sinks[2:] = True
    return torch.cat([previous, own, sinks], 2).to(device)


def _visible_levels(num_levels: int, blocks: int) -> int:
    """Levels l whose group g_l - 2 exists for the last block."""
    return sum(1 for level in range(num_levels) if (blocks - 1) >> level >= 2)
