"""Which keys a query sees ("Who sees what" and "Encoders" of the definition).

All queries of fine group b see the same far-field groups, so a list has one row per block of m queries. Lists depend
only on the length of the sequence and are made once for each length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .config import FmaSettings


@dataclass(frozen=True)
class FarLayout:
    """Far-field lists of G query blocks, some slots for each of `levels` levels."""

    levels: int  # levels that some block sees: the rest cannot change any output
    group_index: Tensor  # [G, slots] into all summaries, level by level; 0 is a group of zeros
    visible: Tensor  # [G, slots * p] bool
    level: Tensor  # [slots * p] level of each listed summary, counted from 0


def far_layout(settings: FmaSettings, length: int, device: torch.device) -> FarLayout:
    """The far-field lists of a sequence of `length` tokens."""
    blocks = group_count(settings, 1, length)
    zero_keys = settings.padding == "zero_keys"
    levels = settings.num_levels if zero_keys else visible_levels(settings, length)
    indices, visible = [torch.zeros(blocks, 0, dtype=torch.long)], [torch.zeros(blocks, 0, dtype=torch.bool)]
    first = 1
    for level in range(1, levels + 1):
        group, seen = level_list(settings, level, torch.arange(blocks) >> (level - 1), length)
        indices.append(torch.where(group >= 0, group + first, 0))
        visible.append(seen)
        first += group_count(settings, level, length)
    entries = far_slots(settings) * settings.rank
    return FarLayout(
        levels,
        torch.cat(indices, 1).to(device),
        torch.cat(visible, 1).to(device),
        torch.arange(levels).repeat_interleave(entries).to(device),
    )


def level_list(settings: FmaSettings, level: int, own: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The lists of the level-l groups `own` [rows]: groups [rows, slots], -1 where there is none, and which of their
    summaries are seen [rows, slots * p]."""
    odd = own % 2 == 1
    if settings.causal:
        group = torch.stack([own - 2, own - 3], 1)
        listed = torch.stack([torch.ones_like(odd), odd], 1)
    else:
        group = torch.stack([own - 2, own + 2, torch.where(odd, own - 3, own + 3)], 1)
        listed = torch.ones_like(group, dtype=torch.bool)
    exists = (group >= 0) & (group < group_count(settings, level, length))
    seen = listed if settings.padding == "zero_keys" else listed & exists
    seen = seen.repeat_interleave(settings.rank, 1)
    if settings.downsampling == "average" and not settings.causal:
        start = share_starts(settings, level, group)  # a share without a token has no mean
        seen = seen & (start.flatten(1) < length)
    return torch.where(exists, group, -1), seen


def share_starts(settings: FmaSettings, level: int, group: Tensor) -> Tensor:
    """The first token of each of the p shares of level-l groups: [*group.shape, p]."""
    width = settings.level_width(level)
    return group[..., None] * width + torch.arange(settings.rank) * (width // settings.rank)


def near_mask(settings: FmaSettings, block: Tensor, length: int) -> Tensor:
    """Which near-field keys the queries of blocks [c] see: [c, m, near * m] bool."""
    m, device = settings.group_size, block.device
    start = block[:, None, None] * m
    first, last = near_offsets(settings)
    key = start + torch.arange(first * m, (last + 1) * m, device=device)
    if not settings.causal:
        return ((key >= 0) & (key < length)).expand(-1, m, -1)
    query = start + torch.arange(m, device=device)[:, None]
    return (key <= query) if settings.padding == "zero_keys" else (key >= 0) & (key <= query)


def near_offsets(settings: FmaSettings) -> tuple[int, int]:
    """The first and last fine group of the near field, counted from the query's own."""
    return (-1, 0) if settings.causal else (-1, 1)


def far_slots(settings: FmaSettings) -> int:
    """The most groups that a query lists at one level."""
    return 2 if settings.causal else 3


def group_count(settings: FmaSettings, level: int, length: int) -> int:
    """Level-l groups of a sequence: the complete ones for decoders, all that have a token for encoders.

    A decoder's sequence is padded to whole fine groups, since what comes after a token cannot change it.
    """
    blocks, halvings = -(-length // settings.group_size), level - 1
    return blocks >> halvings if settings.causal else -(-blocks >> halvings)


def visible_levels(settings: FmaSettings, length: int) -> int:
    """The number of levels at which the first and the last group of the sequence are not neighbours."""
    last = group_count(settings, 1, length) - 1
    return sum(1 for level in range(settings.num_levels) if last >> level >= 2)
