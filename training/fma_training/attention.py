"""Causal Fast Multipole Attention over whole sequences, in parallel over blocks of m queries.

Shapes: B sequences, N tokens (a multiple of m), G = N / m blocks, H query heads, K key/value heads,
R = H / K, d channels, F listed far-field summaries per block, s sink tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import FmaConfig
from .downsample import Downsample
from .layout import FarLayout, far_layout, near_mask
from .rotary import Rotation, summary_positions

INITIAL_LEVEL_BIAS = -2.0


@dataclass(frozen=True)
class SequencePlan:
    """What attention needs to know about a sequence length; the same for every layer."""

    near_bias: Tensor  # [G, 1, m, 2m + s]: 0 where seen, -inf elsewhere
    far: FarLayout
    far_weight: Tensor  # [F] ln c_l under scale_far_field, else 0
    tokens: Rotation | None
    summaries: list[Rotation] | None  # by level


def sequence_plan(config: FmaConfig, length: int, device: torch.device) -> SequencePlan:
    """The plan of sequences of `length` tokens, a multiple of m."""
    settings = config.fma
    blocks = length // settings.group_size
    far = far_layout(settings, blocks, device)
    near = torch.zeros(1, device=device).masked_fill(~near_mask(settings, blocks, device), -math.inf)
    counts = [settings.level_width(level + 1) // settings.rank for level in range(far.levels)]
    weight = torch.tensor([math.log(c) for c in counts] if settings.scale_far_field else [0.0] * far.levels)
    summaries = None
    if config.rotates_far_field:
        summaries = [
            Rotation(config, summary_positions(settings, level, blocks >> (level - 1)).to(device))
            for level in range(1, far.levels + 1)
        ]
    uses_rope = config.position_embedding == "rope"
    return SequencePlan(
        near_bias=near.unsqueeze(1),
        far=far,
        far_weight=weight.to(device)[far.level],
        tokens=Rotation(config, torch.arange(length, device=device)) if uses_rope else None,
        summaries=summaries,
    )


class LevelBias(nn.Module):
    """A learned number per query head and level; levels past the last column read the last column."""

    def __init__(self, heads: int, columns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((heads, columns), INITIAL_LEVEL_BIAS))

    def forward(self, level: Tensor) -> Tensor:
        """B[h, l] for levels counted from 0: [H, *level.shape]."""
        return self.weight[:, level.clamp(max=self.weight.shape[1] - 1)]


class FmaAttention(nn.Module):
    """Queries, keys and values of one layer, their near and far field, and the output projection."""

    def __init__(self, config: FmaConfig, level_bias_columns: int) -> None:
        super().__init__()
        self.config = config
        width, d = config.hidden_size, config.head_dim
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.q_proj = nn.Linear(width, heads * d, bias=config.attention_bias)
        self.k_proj = nn.Linear(width, kv_heads * d, bias=config.attention_bias)
        self.v_proj = nn.Linear(width, kv_heads * d, bias=config.attention_bias)
        self.o_proj = nn.Linear(heads * d, width, bias=config.attention_bias)
        self.k_downsample = Downsample(config)
        self.v_downsample = Downsample(config)
        self.level_bias = LevelBias(heads, level_bias_columns) if config.fma.level_bias else None

    def forward(self, x: Tensor, plan: SequencePlan) -> Tensor:
        """Attention of x [B, N, hidden] to itself: [B, N, hidden]."""
        query = self._heads(self.q_proj(x))  # [B, H, N, d]
        key = self._heads(self.k_proj(x))  # [B, K, N, d]
        value = self._heads(self.v_proj(x))
        turned_query = plan.tokens(query) if plan.tokens else query
        turned_key = plan.tokens(key) if plan.tokens else key
        far_query, sink_key = query, key
        if self.config.rotates_far_field:
            far_query, sink_key = turned_query, turned_key

        far_key = self._far_list(self.k_downsample, key, plan, plan.summaries)
        far_value = self._far_list(self.v_downsample, value, plan, None)
        far_key = torch.cat([self._sinks(sink_key), far_key], 3)  # sinks keep the far field's positions
        scores = self._scores(turned_query, self._near_list(turned_key), far_query, far_key, plan)
        weights = torch.softmax(scores, -1)
        values = torch.cat([self._near_list(value), self._sinks(value), far_value], 3)
        return self.o_proj(self._tokens(weights.to(values.dtype) @ values))

    def _heads(self, x: Tensor) -> Tensor:
        """[B, N, heads * d] to [B, heads, N, d]."""
        return x.unflatten(-1, (-1, self.config.head_dim)).transpose(1, 2)

    def _query_blocks(self, query: Tensor) -> Tensor:
        """[B, H, N, d] to [B, K, G, R * m, d]: the queries that share a list of keys."""
        m, kv_heads = self.config.fma.group_size, self.config.num_key_value_heads
        blocks = query.unflatten(1, (kv_heads, -1)).unflatten(3, (-1, m))  # [B, K, R, G, m, d]
        return blocks.transpose(2, 3).flatten(3, 4)

    def _tokens(self, out: Tensor) -> Tensor:
        """[B, K, G, R * m, d] to [B, N, H * d]."""
        blocks = out.unflatten(3, (-1, self.config.fma.group_size))  # [B, K, G, R, m, d]
        return blocks.permute(0, 2, 4, 1, 3, 5).flatten(3, 5).flatten(1, 2)

    def _near_list(self, x: Tensor) -> Tensor:
        """Previous and own group of every block [B, K, G, 2m, d]; zeros stand before the first."""
        own = x.unflatten(2, (-1, self.config.fma.group_size))
        previous = F.pad(own[:, :, :-1], (0, 0, 0, 0, 1, 0))
        return torch.cat([previous, own], 3)

    def _sinks(self, x: Tensor) -> Tensor:
        """The first s tokens, listed by every block [B, K, G, s, d]."""
        settings = self.config.fma
        blocks = x.shape[2] // settings.group_size
        return x[:, :, None, : settings.sink_tokens].expand(-1, -1, blocks, -1, -1)

    def _far_list(
        self, downsample: Downsample, x: Tensor, plan: SequencePlan, rotations: list[Rotation] | None
    ) -> Tensor:
        """The listed summaries of every block [B, K, G, F, d] of keys or values x [B, K, N, d]."""
        levels = downsample.levels(x, plan.far.levels)
        if rotations:
            levels = [turn(y.flatten(2, 3)).view_as(y) for turn, y in zip(rotations, levels)]
        blocks = x.shape[2] // self.config.fma.group_size
        zeros = x.new_zeros(*x.shape[:2], 1, self.config.fma.rank, x.shape[3])
        summaries = torch.cat([zeros] + [y.to(x.dtype) for y in levels], 2)
        listed = summaries.index_select(2, plan.far.group_index)
        return listed.reshape(*x.shape[:2], blocks, -1, x.shape[3])

    def _scores(
        self, query: Tensor, near_key: Tensor, far_query: Tensor, far_key: Tensor, plan: SequencePlan
    ) -> Tensor:
        """Scores of all listed keys, float32 [B, K, G, R * m, 2m + s + F]; -inf where not seen."""
        m, scale = self.config.fma.group_size, self.config.head_dim**-0.5
        near_bias, sink_bias = plan.near_bias.split([2 * m, self.config.fma.sink_tokens], -1)
        near = (self._query_blocks(query * scale) @ near_key.transpose(-1, -2)).unflatten(3, (-1, m))
        far = (self._query_blocks(far_query * scale) @ far_key.transpose(-1, -2)).unflatten(3, (-1, m))
        sink, far = far.split([self.config.fma.sink_tokens, plan.far_weight.shape[0]], -1)
        parts = [near + near_bias, sink + sink_bias, far + self._far_bias(plan)]
        return torch.cat(parts, -1).flatten(3, 4)

    def _far_bias(self, plan: SequencePlan) -> Tensor:
        """What is added to far scores, float32 [K or 1, G, R or 1, 1, F]."""
        bias = plan.far_weight.expand(1, 1, 1, -1)
        if self.level_bias is not None:
            heads = self.level_bias(plan.far.level)  # [H, F]
            bias = heads.unflatten(0, (self.config.num_key_value_heads, 1, -1)) + plan.far_weight
        return bias.masked_fill(~plan.far.visible[:, None, :], -math.inf).unsqueeze(-2)
