"""What attention needs to know about a sequence's length; the same for every layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .config import FmaConfig, FmaSettings
from .layout import FarLayout, far_layout, group_count, level_list, near_mask
from .rotary import Turns, sequence_turns

T = TypeVar("T")


@dataclass(frozen=True)
class SequencePlan:
    """n tokens, padded to G blocks of m."""

    settings: FmaSettings
    length: int  # n
    blocks: int  # G
    blocks_at_once: int
    far: FarLayout
    far_weight: Tensor  # [levels] ln c_l under scale_far_field, else 0
    turns: Turns
    level_lists: list[tuple[Tensor, Tensor]]  # level_list of all groups, by level: for down-sampled queries

    def near_bias(self, blocks: slice) -> Tensor:
        """0 where near-field keys are seen, -inf elsewhere: [c, 1, m, near * m]."""
        block = torch.arange(blocks.start, blocks.stop, device=self.far_weight.device)
        return hidden_bias(~near_mask(self.settings, block, self.length)).unsqueeze(1)

    def sink_bias(self, blocks: slice) -> Tensor:
        """0 where sinks are listed, because the near field no longer holds them, else -inf: [c, 1, 1, 1]."""
        block = torch.arange(blocks.start, blocks.stop, device=self.far_weight.device)
        return hidden_bias(block < 2)[:, None, None, None]

    def chunked(self, attend: Callable[[slice], T], rows: int) -> list[T]:
        """Calls `attend` for all rows (blocks or groups), a limited number at a time. With several chunks, what a chunk
        needs for its gradient is computed again when it is needed, so only one chunk's scores are ever in memory."""
        if self.blocks_at_once >= rows:
            return [attend(slice(0, rows))]
        chunks = [slice(i, min(i + self.blocks_at_once, rows)) for i in range(0, rows, self.blocks_at_once)]
        return [checkpoint(attend, chunk, use_reentrant=False) for chunk in chunks]


def sequence_plan(
    config: FmaConfig, length: int, device: torch.device, blocks_at_once: int | None = None
) -> SequencePlan:
    """The plan of sequences of `length` tokens; by default all blocks at once."""
    settings = config.fma
    blocks = group_count(settings, 1, length)
    far = far_layout(settings, length, device)
    levels = range(1, far.levels + 1)
    counts = [settings.level_width(level) // settings.rank for level in levels]
    weight = torch.tensor([math.log(c) for c in counts] if settings.scale_far_field else [0.0] * far.levels)
    groups = [group_count(settings, level, length) for level in levels]
    return SequencePlan(
        settings=settings,
        length=length,
        blocks=blocks,
        blocks_at_once=blocks_at_once or blocks,
        far=far,
        far_weight=weight.to(device),
        turns=sequence_turns(config, blocks * settings.group_size, groups, device),
        level_lists=_level_lists(settings, groups, length, device) if settings.query_downsampling else [],
    )


def _level_lists(
    settings: FmaSettings, groups: list[int], length: int, device: torch.device
) -> list[tuple[Tensor, Tensor]]:
    lists = (level_list(settings, level, torch.arange(count), length) for level, count in enumerate(groups, 1))
    return [(group.clamp(min=0).to(device), seen.to(device)) for group, seen in lists]


def hidden_bias(hidden: Tensor) -> Tensor:
    """-inf where hidden, 0 elsewhere."""
    return torch.zeros((), device=hidden.device).masked_fill(hidden, -math.inf)
