"""Nyström attention (Xiong and others, arXiv 2102.03902), for encoders, O(n).

The softmax's matrix is approximated through landmarks, the means of equal segments of queries and of keys:
softmax(Q k^T) pinv(softmax(q k^T)) softmax(q K^T), with the pseudo-inverse by an iteration. The convolution over
values that the paper adds is left out: the other attentions have none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from fma_training.config import FmaConfig
from fma_training.plan import SequencePlan
from torch import Tensor

from .tokens import TokenAttention

ITERATIONS = 6


class NystromAttention(TokenAttention):
    def __init__(self, config: FmaConfig, layer: int, landmarks: int) -> None:
        super().__init__(config, layer)
        self.landmarks = landmarks

    def tokens(self, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> Tensor:
        count = min(self.landmarks, plan.length)
        query = query * query.shape[-1] ** -0.5
        few_queries, few_keys = (_segment_means(x, count) for x in (query, key))
        left = torch.softmax(query @ few_keys.transpose(-1, -2), -1)
        middle = torch.softmax(few_queries @ few_keys.transpose(-1, -2), -1)
        right = torch.softmax(few_queries @ key.transpose(-1, -2), -1)
        return left @ (pseudo_inverse(middle) @ (right @ value))


def _segment_means(x: Tensor, count: int) -> Tensor:
    """Means [B, H, count, d] of `count` segments of x [B, H, n, d] that are equally long, but for rounding."""
    return F.adaptive_avg_pool2d(x, (count, x.shape[-1]))


def pseudo_inverse(matrix: Tensor) -> Tensor:
    """Of matrices [..., c, c] whose rows are probabilities, by the iteration of the paper (Razavi and others)."""
    one = torch.eye(matrix.shape[-1], device=matrix.device, dtype=matrix.dtype)
    columns = matrix.sum(-2).amax(-1)[..., None, None]
    inverse = matrix.transpose(-1, -2) / columns
    for _ in range(ITERATIONS):
        product = matrix @ inverse
        inverse = inverse @ (13 * one - product @ (15 * one - product @ (7 * one - product))) / 4
    return inverse
