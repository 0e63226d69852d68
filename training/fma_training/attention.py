"""What all kinds of Fast Multipole Attention share: projections, heads in blocks, the level bias.

Shapes: B sequences, N tokens (a multiple of m), G = N / m blocks, H query heads, K key/value heads,
R = H / K, d channels.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from .config import FmaConfig
from .norms import RmsNorm
from .plan import SequencePlan

INITIAL_LEVEL_BIAS = -2.0


class LevelBias(nn.Module):
    """A learned number per query head and level; levels past the last column read the last column."""

    def __init__(self, heads: int, columns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((heads, columns), INITIAL_LEVEL_BIAS))

    def forward(self, level: Tensor) -> Tensor:
        """B[h, l] for levels counted from 0: [H, *level.shape]."""
        return self.weight[:, level.clamp(max=self.weight.shape[1] - 1)]


class FmaAttention(nn.Module):
    """Queries, keys and values of one layer and the output projection; subclasses say which queries see which keys."""

    def __init__(self, config: FmaConfig, layer: int, level_bias_columns: int) -> None:
        super().__init__()
        self.config = config
        self.rotates = config.rotates(layer)
        width, d = config.hidden_size, config.head_dim
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.q_proj = nn.Linear(width, heads * d, bias=config.attention_bias)
        self.k_proj = nn.Linear(width, kv_heads * d, bias=config.attention_bias)
        self.v_proj = nn.Linear(width, kv_heads * d, bias=config.attention_bias)
        self.o_proj = nn.Linear(heads * d, width, bias=config.attention_bias)
        if config.qk_norm:
            self.q_norm, self.k_norm = RmsNorm(d, config.norm_eps), RmsNorm(d, config.norm_eps)
        self.level_bias = LevelBias(heads, level_bias_columns) if config.fma.level_bias else None

    def forward(self, x: Tensor, plan: SequencePlan) -> Tensor:
        """Attention of x [B, N, hidden] to itself: [B, N, hidden]."""
        query, key, value = (self._heads(project(x)) for project in (self.q_proj, self.k_proj, self.v_proj))
        if self.config.qk_norm:
            query, key = self.q_norm(query), self.k_norm(key)
        if self.rotates:
            query = query * self.config.rope_attention_factor**2
        else:
            plan = replace(plan, turns=plan.turns.removed())
        return self.o_proj(self._tokens(self.attend(query, key, value, plan)))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, plan: SequencePlan) -> Tensor:
        """[B, K, G, R, m, d] of queries [B, H, N, d], keys and values [B, K, N, d]."""
        raise NotImplementedError

    def query_blocks(self, query: Tensor) -> Tensor:
        """[B, H, N, d] to [B, K, G, R, m, d]: the queries that share a list of keys."""
        m, kv_heads = self.config.fma.group_size, self.config.num_key_value_heads
        return query.unflatten(1, (kv_heads, -1)).unflatten(3, (-1, m)).transpose(2, 3)

    def far_bias(self, level: Tensor, plan: SequencePlan) -> Tensor:
        """What is added to the scores of far entries of levels [F], counted from 0: [K or 1, R or 1, 1, F]."""
        weight = plan.far_weight[level].expand(1, 1, 1, -1)
        if self.level_bias is None:
            return weight
        return self.level_bias(level).unflatten(0, (self.config.num_key_value_heads, -1, 1)) + weight

    def _heads(self, x: Tensor) -> Tensor:
        """[B, N, heads * d] to [B, heads, N, d]."""
        return x.unflatten(-1, (-1, self.config.head_dim)).transpose(1, 2)

    def _tokens(self, out: Tensor) -> Tensor:
        """[B, K, G, R, m, d] to [B, N, H * d]."""
        return out.permute(0, 2, 4, 1, 3, 5).flatten(3, 5).flatten(1, 2)
