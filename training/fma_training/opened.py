"""Units of the past that queries open and read token by token ("Nothing forgotten: opened units").

Shapes: B sequences, K key/value heads, R = H / K query heads each, m queries of a block, d channels; U units of u
tokens that have left the near field. Choices are made without gradients; gradients flow through the opened tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .config import FmaConfig
from .plan import hidden_bias
from .softmax import Part

_INNER, _OUTER, _BORDER = 0.453, 1.51, 0.98  # the four levels that are best for a normal distribution


@dataclass(frozen=True)
class Opened:
    """What the queries of a block opened."""

    units: Tensor  # [B, K, m, U] bool
    unit_size: int
    parts: list[tuple[Part, int]]  # entries of consecutive tokens, and the first of them

    def hides(self, position: Tensor) -> Tensor:
        """The bias [B, K, 1, m, c] of representatives at `position` [B, K, c], which hides those in opened units."""
        unit = (position // self.unit_size)[:, :, None].expand(-1, -1, self.units.shape[2], -1)
        return hidden_bias(self.units.gather(3, unit)).unsqueeze(2)


class Archive:
    """Keys and values of all tokens of a sequence, and the sketches of its units in both forms."""

    def __init__(self, config: FmaConfig, key: Tensor, placed: Tensor, value: Tensor) -> None:
        """Unrotated keys, keys rotated by their positions, and values: [B, K, N, d] each."""
        self.settings = config.fma
        self.key, self.value = key, value
        self.near_key = placed if config.far_positions == "own" else key
        self.sketch = sketches(key, self.settings.unit_size)
        self.near_sketch = sketches(self.near_key, self.settings.unit_size)
        self.is_sink = torch.arange(key.shape[2], device=key.device) < self.settings.sink_tokens

    def open(self, block: int, query: Tensor, distant_query: Tensor) -> Opened:
        """For queries [B, K, R, m, d] of a block from the third on, in the forms of the near and the distant past."""
        m, u = self.settings.group_size, self.settings.unit_size
        end = (block - 1) * m
        border = max(0, block + 1 - self.settings.max_distance // m) * m if self.settings.max_distance else 0
        forms = (
            (distant_query, self.key, self.sketch, slice(0, border)),
            (query, self.near_key, self.near_sketch, slice(border, end)),
        )
        scores = torch.cat([_scores(asking, sketch[:, :, span]) for asking, _, sketch, span in forms], 3)
        units = choose_units(scores, self.is_sink[:end], u, self.settings.open_units)
        hidden = ~units.repeat_interleave(u, 3) | self.is_sink[:end]  # [B, K, m, tokens]
        bias = hidden_bias(hidden).unsqueeze(2)
        parts = [
            (Part(asking, key[:, :, span], self.value[:, :, span], bias[..., span]), span.start)
            for asking, key, _, span in forms
            if span.start < span.stop
        ]
        return Opened(units, u, parts)


@torch.no_grad()
def sketches(key: Tensor, unit_size: int) -> Tensor:
    """The keys [B, K, N, d] of whole units as two bits per channel and a factor per token keep them, in float32."""
    units = key.float().unflatten(2, (-1, unit_size))
    mean = units.mean(3, keepdim=True)
    z = units - mean
    sigma = z.square().mean(3, keepdim=True).sqrt()
    size = torch.where(z.abs() < _BORDER * sigma, _INNER * sigma, _OUTER * sigma)
    e = torch.where(z < 0, -size, size)
    product = (z * e).sum(-1, keepdim=True)
    factor = torch.where(product == 0, 0.0, z.square().sum(-1, keepdim=True) / product)
    return (mean + factor * e).flatten(2, 3)


@torch.no_grad()
def choose_units(scores: Tensor, is_sink: Tensor, unit_size: int, count: int) -> Tensor:
    """The `count` units of the largest scores, or all [B, K, m, U] bool, by the scores of their tokens
    [B, K, m, tokens]; of equals the earlier, and none of sinks only."""
    units = scores.masked_fill(is_sink, -torch.inf).unflatten(3, (-1, unit_size)).amax(-1)
    best = units.sort(dim=-1, descending=True, stable=True).indices[..., :count]
    opened = torch.zeros_like(units, dtype=torch.bool).scatter(3, best, True)
    return opened & (units > -torch.inf)


@torch.no_grad()
def _scores(query: Tensor, sketch: Tensor) -> Tensor:
    """The largest product [B, K, m, tokens] of any query head with each sketched token [B, K, tokens, d]."""
    return (query.float() @ sketch.unsqueeze(2).transpose(-1, -2)).amax(2)
