"""Keeps shared levels from growing when a model is served with more levels than it was trained with.

The same small matrix makes level l + 1 from level l for every l > 1. Where all groups are alike, channel c of the p
summaries y becomes (M_left + M_right) y, so an eigenvalue beyond 1 makes deep levels grow without limit, which training
with its few levels does not notice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import refusal
from .config import FmaConfig

_MERGE = "_downsample.1.weight"


def bound_merges(config: FmaConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with the shared merges of every channel scaled down to a spectral radius of at most 1."""
    if not config.fma.share_levels:
        raise ValueError(refusal("share_levels", False, "true: only merges of shared levels are repeated"))
    rank = config.fma.rank
    return {name: _bounded(tensor, rank) if name.endswith(_MERGE) else tensor for name, tensor in tensors.items()}


def merge_radius(weight: Tensor, rank: int) -> Tensor:
    """Spectral radius of M_left + M_right for each channel [d] of a merge's weight [d * p, 1, 2p]."""
    left, right = weight.double().view(-1, rank, 2 * rank).split(rank, 2)
    return torch.linalg.eigvals(left + right).abs().amax(1)


def _bounded(weight: Tensor, rank: int) -> Tensor:
    scale = 1 / merge_radius(weight, rank).clamp(min=1)
    return weight * scale.repeat_interleave(rank)[:, None, None].to(weight.dtype)
