"""Norms of hidden states, and of the queries and keys of a head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import FmaConfig


class RmsNorm(nn.Module):
    """Over the last axis: of a token, or of one head of a token."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def hidden_norm(config: FmaConfig) -> nn.Module:
    """The norm of hidden states."""
    if config.norm == "rmsnorm":
        return RmsNorm(config.hidden_size, config.norm_eps)
    return nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
