"""Rotary positions ("Rotary positions" and "No distance that training never saw" of the definition)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .config import FmaConfig, FmaSettings

Turn = Callable[[Tensor], Tensor]  # vectors [..., n, d] in one form


class Rotation:
    """Rotates pairs (i, i + d/2) of vectors by the angles of fixed, possibly fractional, positions.

    Angles are computed in float64: at position 10^6 a float32 product would be wrong by a tenth of a radian.
    """

    def __init__(self, config: FmaConfig, positions: Tensor) -> None:
        half = config.head_dim // 2
        frequency = config.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
        if config.rope_factors is not None:
            frequency = frequency / torch.tensor(config.rope_factors, dtype=torch.float64)
        angle = positions.to("cpu", torch.float64)[:, None] * frequency
        self.cosine = angle.cos().float().to(positions.device)  # [n, d / 2]
        self.sine = angle.sin().float().to(positions.device)  # [n, d / 2]

    def __call__(self, x: Tensor) -> Tensor:
        """Rotates x [..., n, d]."""
        cosine, sine = self.cosine.to(x.dtype), self.sine.to(x.dtype)
        first, second = x.chunk(2, -1)
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


def unrotated(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class Turns:
    """The forms (rotations) of one sequence's queries and keys, by what they are compared with."""

    near: Turn  # tokens, by their positions
    far: Turn  # a query for far entries of levels that are not treated as distant
    distant: Turn  # a query for unrotated entries, as if they were max_distance away
    sink_query: Turn
    sink_key: Turn
    summaries: list[Turn]  # by level: the groups' summaries [..., groups * p, d], or a token's key for `own`

    @staticmethod
    def none(levels: int) -> Turns:
        """No vector is rotated."""
        return Turns(unrotated, unrotated, unrotated, unrotated, unrotated, [unrotated] * levels)

    def removed(self) -> Turns:
        """Those of a layer without rope."""
        return Turns.none(len(self.summaries))


def sequence_turns(config: FmaConfig, tokens: int, groups: list[int], device: torch.device) -> Turns:
    """The forms for `tokens` positions and the given number of groups of each level that is seen."""
    if config.position_embedding != "rope":
        return Turns.none(len(groups))
    position = torch.arange(tokens, device=device)
    near = Rotation(config, position)
    if config.far_positions == "none":
        return Turns(near, unrotated, unrotated, unrotated, unrotated, [unrotated] * len(groups))
    distant, sink_query = near, near
    if config.fma.max_distance:
        distant = Rotation(config, position.new_tensor([config.fma.max_distance]))
        sink_query = Rotation(config, position.clamp(max=config.fma.max_distance))
    summaries: list[Turn] = [unrotated] * len(groups)
    if config.far_positions == "center":
        summaries = [
            unrotated
            if config.seems_distant(level)
            else Rotation(config, summary_positions(config.fma, level, count).to(device))
            for level, count in enumerate(groups, 1)
        ]
    return Turns(near, near, distant, sink_query, near, summaries)


def summary_positions(settings: FmaSettings, level: int, groups: int) -> Tensor:
    """Centres of the shares of each group's summaries [groups * p], for level 1..L."""
    width = settings.level_width(level)
    share = width / settings.rank
    start = torch.arange(groups, dtype=torch.float64)[:, None] * width
    return (start + (torch.arange(settings.rank) + 0.5) * share - 0.5).flatten()
