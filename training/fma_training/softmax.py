"""One softmax over a list of keys that consists of parts.

Shapes: R query heads that share a KV head, q queries that share a list, c listed entries, d channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

_LOWEST = -1e30  # replaces -inf, the maximum of no scores: -inf minus itself is not a number


@dataclass(frozen=True)
class Part:
    """Entries of a list for which the queries have the same form."""

    query: Tensor  # [..., R, q, d]
    key: Tensor  # [..., c, d]
    value: Tensor  # [..., c, d]
    bias: Tensor  # added to scores, [..., R, q, c] or broadcast to it; -inf where not seen

    def scores(self) -> Tensor:
        """[..., R, q, c]"""
        query = self.query.flatten(-3, -2) * self.query.shape[-1] ** -0.5
        return (query @ self.key.transpose(-1, -2)).unflatten(-2, self.query.shape[-3:-1]) + self.bias


def attend(parts: list[Part]) -> tuple[Tensor, Tensor]:
    """The weighted values [..., R, q, d] of all parts' entries, and the softmax weights [..., R, q, entries]."""
    weights = torch.softmax(torch.cat([part.scores() for part in parts], -1), -1)
    values = torch.cat([part.value for part in parts], -2)
    return _weighted(weights, values), weights


class Partial(NamedTuple):
    """The softmax over a part of a list, to be merged with that of the rest."""

    maximum: Tensor  # [..., q, 1], a constant for the gradient: it cancels in the result
    total: Tensor  # [..., q, 1] sum of exp(score - maximum)
    weighted: Tensor  # [..., q, d] sum of exp(score - maximum) * value

    @staticmethod
    def of(part: Part) -> Partial:
        scores = part.scores()
        maximum = scores.detach().amax(-1, keepdim=True).clamp(min=_LOWEST)
        weights = torch.exp(scores - maximum)
        return Partial(maximum, weights.sum(-1, keepdim=True), _weighted(weights, part.value))

    def merge(self, other: Partial) -> Partial:
        """The softmax of both lists together."""
        maximum = torch.maximum(self.maximum, other.maximum)
        mine, others = torch.exp(self.maximum - maximum), torch.exp(other.maximum - maximum)
        return Partial(
            maximum,
            self.total * mine + other.total * others,
            self.weighted * mine + other.weighted * others,
        )

    def map(self, change: Callable[[Tensor], Tensor]) -> Partial:
        return Partial(*map(change, self))

    def result(self) -> Tensor:
        """[..., q, d]; some entry must have been seen."""
        return self.weighted / self.total


def _weighted(weights: Tensor, values: Tensor) -> Tensor:
    """Weighted sums [..., R, q, d] of values [..., c, d]; the weights are converted to the values' type."""
    sums = weights.flatten(-3, -2).to(values.dtype) @ values
    return sums.unflatten(-2, weights.shape[-3:-1])
