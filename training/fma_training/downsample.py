"""Learned summaries of groups of keys, values or queries ("Summaries" of the definition)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import FmaConfig
from .layout import group_count, share_starts
from .plan import SequencePlan

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
        """Initial weights: averages of shares of the group, plus noise that makes the channels differ."""
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
    """The summaries of every level, of keys, of values or of queries. Children are named by level index, 0 first."""

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

    def levels(self, x: Tensor, plan: SequencePlan) -> list[Tensor]:
        """Summaries [B, heads, groups, p, d] of the groups of every level that is seen, of x [B, heads, N, d].

        A decoder has only complete groups. An encoder has all groups that have a token; missing tokens are zeros.
        """
        if not self.settings.causal:
            x = F.pad(x[:, :, : plan.length], (0, 0, 0, x.shape[2] - plan.length))
        found: list[Tensor] = []
        for level in range(1, plan.far.levels + 1):
            count = group_count(self.settings, level, plan.length)
            if level > 1 and self.settings.downsampling == "hierarchical":
                children = _grouped(found[-1].flatten(2, 3), count, 2 * self.settings.rank)
                found.append(self[1 if self.settings.share_levels else level - 1](children))
            elif self.settings.downsampling == "average":
                groups = _grouped(x, count, self.settings.level_width(level))
                found.append(self._means(groups, level, plan.length))
            else:
                found.append(self[level - 1](_grouped(x, count, self.settings.level_width(level))))
        return found

    def _means(self, groups: Tensor, level: int, length: int) -> Tensor:
        """Means [..., groups, p, d] of the tokens in each share of groups [..., groups, w_l, d]."""
        if self.settings.causal:
            return groups.unflatten(-2, (self.settings.rank, -1)).mean(-2)
        shares = groups.unflatten(-2, (self.settings.rank, -1))
        start = share_starts(self.settings, level, torch.arange(groups.shape[-3]))
        tokens = (length - start).clamp(1, shares.shape[-2]).to(groups.device)  # [groups, p]
        return shares.sum(-2) / tokens[..., None]

    def _weight_count(self) -> int:
        if self.settings.downsampling == "average":
            return 0
        if self.settings.share_levels:
            return min(2, self.settings.num_levels)
        return self.settings.num_levels


def _grouped(x: Tensor, count: int, width: int) -> Tensor:
    """The first `count` groups [B, heads, count, width, d] of x [B, heads, n, d]; zeros where x is too short."""
    missing = count * width - x.shape[2]
    x = F.pad(x, (0, 0, 0, missing)) if missing > 0 else x[:, :, : count * width]
    return x.unflatten(2, (count, width))
