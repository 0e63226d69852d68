"""Bidirectional FMA, evaluated from scratch for one token at a time ("Encoders" of the definition)."""

from __future__ import annotations

import math

import numpy as np
from reference import Array, Reference


class EncoderReference(Reference):
    """Both kinds: tokens attend to far summaries with their own query, or with that of their share."""

    def embedding(self, tokens: list[int]) -> Array:
        """[hidden], of length 1"""
        mean = self.hidden(tokens).mean(0)
        return mean / np.sqrt((mean * mean).sum())

    def _attend(self, q: Array, k: Array, v: Array, t: int, h: int, name: str) -> Array:
        n, m, d = len(k), self.fma.group_size, self.config.head_dim
        entries = [
            (self._turn(q[t], t) @ self._turn(k[s], s) / math.sqrt(d), v[s])
            for s in range(n)
            if abs(s // m - t // m) <= 1
        ]
        for level in range(1, self.fma.num_levels + 1):
            width = self.fma.level_width(level)
            own = t // width
            for group in range(-(-n // width)):
                if abs(group - own) >= 2 and abs(group // 2 - own // 2) <= 1:
                    entries += self._group_entries(q, k, v, t, h, level, group, name)
        return self._softmax(entries)

    def _group_entries(
        self, q: Array, k: Array, v: Array, t: int, h: int, level: int, group: int, name: str
    ) -> list[tuple[float, Array]]:
        p, width, d = self.fma.rank, self.fma.level_width(level), self.config.head_dim
        asking = self._far_turn(q[t], t)
        if self.fma.query_downsampling:
            own, share = t // width, t % width * p // width
            summary = self._summaries(q, level, own, name + "q_downsample.")[share]
            asking = self._far_turn(summary, self._centre(level, own, share))
        keys = self._summaries(k, level, group, name + "k_downsample.")
        values = self._summaries(v, level, group, name + "v_downsample.")
        return [
            (
                asking @ self._far_turn(keys[r], self._centre(level, group, r)) / math.sqrt(d)
                + self._far_bias(h, level, name),
                values[r],
            )
            for r in range(p)
            if not np.isnan(keys[r]).any()
        ]

    def _centre(self, level: int, group: int, share: int) -> float:
        width = self.fma.level_width(level)
        return group * width + (share + 0.5) * width / self.fma.rank - 0.5

    def _summaries(self, x: Array, level: int, group: int, name: str) -> Array:
        """[p, d] of a group that may lack tokens; NaN for a mean of none."""
        p, width, d = self.fma.rank, self.fma.level_width(level), self.config.head_dim
        start = group * width
        if self.fma.downsampling == "average":
            shares = [x[start + r * width // p : start + (r + 1) * width // p] for r in range(p)]
            return np.array([share.mean(0) if len(share) else np.full(d, np.nan) for share in shares])
        if start >= len(x):
            return np.zeros((p, d))
        if self.fma.downsampling == "hierarchical" and level > 1:
            children = [self._summaries(x, level - 1, 2 * group + i, name) for i in (0, 1)]
            return self._taps(np.concatenate(children), level, name)
        tokens = np.zeros((width, d))
        tokens[: len(x) - start] = x[start : start + width]
        return self._taps(tokens, level, name)
