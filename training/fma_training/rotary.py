"""Rotary positions ("Rotary positions" of the definition)."""

from __future__ import annotations

import torch
from torch import Tensor

from .config import FmaConfig, FmaSettings


class Rotation:
    """Rotates pairs (i, i + d/2) of vectors by the angles of fixed, possibly fractional, positions.

    Angles are formed in float64: at position 10^6 a float32 product is off by a tenth of a radian.
    """

    def __init__(self, config: FmaConfig, positions: Tensor) -> None:
        half = config.head_dim // 2
        frequency = config.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = positions.to("cpu", torch.float64)[:, None] * frequency
        self.cosine = angle.cos().float().to(positions.device)  # [n, d / 2]
        self.sine = angle.sin().float().to(positions.device)  # [n, d / 2]

    def __call__(self, x: Tensor) -> Tensor:
        """Rotates x [..., n, d]."""
        cosine, sine = self.cosine.to(x.dtype), self.sine.to(x.dtype)
        first, second = x.chunk(2, -1)
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


def summary_positions(settings: FmaSettings, level: int, groups: int) -> Tensor:
    """Centres of the shares of each group's summaries [groups * p], for level 1..L."""
    width = settings.level_width(level)
    share = width / settings.rank
    start = torch.arange(groups, dtype=torch.float64)[:, None] * width
    return (start + (torch.arange(settings.rank) + 0.5) * share - 0.5).flatten()
