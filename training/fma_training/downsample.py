"""Learned summaries of groups of keys or values ("Summaries" of the definition)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import FmaConfig

INITIAL_NOISE = 0.02


class Taps(nn.Module):
    """One Conv1d-shaped weight: p summaries of `taps` vectors of d channels."""

    def __init__(self, head_dim: int, rank: int, taps: int, grouped: bool) -> None:
        super().__init__()
        self.rank = rank
        self.grouped = grouped
        self.weight = nn.Parameter(torch.empty(head_dim * rank, 1 if grouped else head_dim, taps))
        self.bias = nn.Parameter(torch.zeros(head_dim * rank))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Starts as averages of shares of the group, plus noise that tells the channels apart."""
        channels, taps = self.weight.shape[0] // self.rank, self.weight.shape[2]
        share = taps // self.rank
        average = torch.zeros(self.rank, taps)
        for r in range(self.rank):
            average[r, r * share : (r + 1) * share] = 1 / share
        own = torch.ones(channels, 1) if self.grouped else torch.eye(channels)
        start = own[:, None, :, None] * average[None, :, None, :]  # [d, p, in, taps]
        self.weight.copy_(start.flatten(0, 1))
        self.weight.add_(torch.randn_like(self.weight) * INITIAL_NOISE / self.weight.shape[1])
        self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Summaries [..., p, d] of x [..., taps, d]; weight row c * p + r makes channel c of summary r."""
        if self.grouped:
            weight = self.weight.view(-1, self.rank, self.weight.shape[2])
            y = torch.einsum("...jc,crj->...rc", x, weight)
        else:
            weight = self.weight.view(-1, self.rank, *self.weight.shape[1:])
            y = torch.einsum("...jc,ircj->...ri", x, weight)
        return y + self.bias.view(-1, self.rank).t().to(y.dtype)


class Downsample(nn.ModuleList):
    """The summaries of every level for keys or for values. Children are named by level index, 0 first."""

    def __init__(self, config: FmaConfig) -> None:
        super().__init__()
        self.settings = config.fma
        kind = self.settings.downsampling
        for index in range(self._weight_count()):
            if kind == "hierarchical" and index > 0:
                taps = 2 * self.settings.rank
            else:
                taps = self.settings.level_width(index + 1)
            self.append(Taps(config.head_dim, self.settings.rank, taps, grouped=kind != "conv"))

    def levels(self, x: Tensor, count: int) -> list[Tensor]:
        """Summaries [B, K, groups, p, d] of the complete groups of levels 1..count of x [B, K, N, d]."""
        found: list[Tensor] = []
        for level in range(1, count + 1):
            if level > 1 and self.settings.downsampling == "hierarchical":
                children = _grouped(found[-1].flatten(2, 3), 2 * self.settings.rank)
                found.append(self[1 if self.settings.share_levels else level - 1](children))
            else:
                found.append(self._direct(_grouped(x, self.settings.level_width(level)), level))
        return found

    def _direct(self, groups: Tensor, level: int) -> Tensor:
        """Summaries [..., p, d] of groups of tokens [..., w_l, d]."""
        if self.settings.downsampling == "average":
            return groups.unflatten(-2, (self.settings.rank, -1)).mean(-2)
        return self[level - 1](groups)

    def _weight_count(self) -> int:
        if self.settings.downsampling == "average":
            return 0
        if self.settings.share_levels:
            return min(2, self.settings.num_levels)
        return self.settings.num_levels


def _grouped(x: Tensor, width: int) -> Tensor:
    """Complete groups [B, K, groups, width, d] of x [B, K, n, d]; the incomplete rest is dropped."""
    groups = x.shape[2] // width
    return x[:, :, : groups * width].reshape(*x.shape[:2], groups, width, x.shape[3])
