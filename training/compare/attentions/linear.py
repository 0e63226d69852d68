"""Linear attention (Katharopoulos and others, arXiv 2006.16236), O(n).

The softmax's exp(q . k) is replaced by f(q) . f(k) with f(x) = elu(x) + 1, so sums over keys can be formed once. Rotary
positions turn f(q) and f(k) in the weighted values and not in their total (RoFormer, arXiv 2104.09864), which so
stays positive.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from fma_training.plan import SequencePlan
from torch import Tensor

from .tokens import TokenAttention

CHUNK = 64  # tokens whose weights are formed one by one; sums of keys pass from chunk to chunk


class LinearAttention(TokenAttention):
    def forms(self, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> tuple[Tensor, Tensor, Tensor]:
        return F.elu(query) + 1, F.elu(key) + 1, value

    def tokens(self, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> Tensor:
        missing = plan.blocks * plan.settings.group_size - plan.length
        turned = [plan.turns.near(F.pad(x, (0, 0, 0, missing)))[:, :, : plan.length] for x in (query, key)]
        sums = _past_sums if plan.settings.causal else _all_sums
        return sums(turned[0], turned[1], value) / sums(query, key, torch.ones_like(value[..., :1]))


def _all_sums(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Sum over all s of (q_t . k_s) v_s: [B, H, n, c]."""
    return query @ (key.transpose(-1, -2) @ value)


def _past_sums(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The same over s <= t."""
    length = query.shape[2]
    chunks = [F.pad(x, (0, 0, 0, -length % CHUNK)).unflatten(2, (-1, CHUNK)) for x in (query, key, value)]
    q, k, v = chunks
    products = k.transpose(-1, -2) @ v  # [B, H, chunks, d, c]
    before = products.cumsum(2) - products
    own = torch.tril(q @ k.transpose(-1, -2))
    return (q @ before + own @ v).flatten(2, 3)[:, :, :length]
