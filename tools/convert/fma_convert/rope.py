"""Scaled rotary frequencies: what divides frequency i of theta^(-2i/d), and how much attention is sharpened.

The formulas stand in docs/model.md, "Scaled frequencies".
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class RopeScaling:
    """`factors` has d/2 numbers; None: all are 1. Queries are multiplied by the square of `attention_factor`."""

    factors: list[float] | None = None
    attention_factor: float = 1.0


@dataclass(frozen=True)
class Rope:
    theta: float
    head_dim: int

    def linear(self, factor: float) -> RopeScaling:
        return RopeScaling([factor] * self._pairs)

    def llama3(self, factor: float, low: float, high: float, original: int) -> RopeScaling:
        """Long waves are divided by `factor`, short ones are kept; `low` and `high` waves in the original length
        are the ends of the range between."""
        factors = []
        for frequency in self._frequencies():
            waves = original * frequency / (2 * math.pi)
            kept = min(1.0, max(0.0, (waves - low) / (high - low)))
            factors.append(1 / ((1 - kept) / factor + kept))
        return RopeScaling(factors)

    def yarn(
        self, factor: float, original: int, fast: float = 32.0, slow: float = 1.0, attention_factor: float | None = None
    ) -> RopeScaling:
        """Pairs that turn more than `fast` times in the original length are kept, those that turn less than `slow`
        times are divided by `factor`, with a ramp over the pairs between."""
        first = max(0, math.floor(self._pair_of(fast, original)))
        last = min(self.head_dim - 1, math.ceil(self._pair_of(slow, original)))
        width = last - first or 0.001
        factors = []
        for i in range(self._pairs):
            kept = 1 - min(1.0, max(0.0, (i - first) / width))
            factors.append(1 / ((1 - kept) / factor + kept))
        return RopeScaling(factors, yarn_sharpening(factor) if attention_factor is None else attention_factor)

    @property
    def _pairs(self) -> int:
        return self.head_dim // 2

    def _frequencies(self) -> list[float]:
        return [self.theta ** (-i / self._pairs) for i in range(self._pairs)]

    def _pair_of(self, turns: float, length: int) -> float:
        """The pair, as a real number, that turns so many times in `length` tokens."""
        return self.head_dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(self.theta))


def yarn_sharpening(factor: float, scale: float = 1.0) -> float:
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0
