"""Selected tokens and opened units, evaluated one token at a time in float64 ("Selected tokens")."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from fma_training.config import FmaConfig
from reference import Array, Reference


@dataclass
class HeadState:
    """What one layer and KV head knows about its past."""

    received: Array  # A [n]
    novelty: Array  # N [n]
    view: dict[tuple[int, int], list[int]] = field(default_factory=dict)  # (level, group): its representatives
    chosen: list[tuple[int, int, list[int]]] = field(default_factory=list)
    opened: list[tuple[int, list[int]]] = field(default_factory=list)


@dataclass
class Entry:
    """One token of a list: its form, and what is added to its score."""

    token: int
    form: str  # "own" position, "sink", "distant" (as if max_distance away), "plain" (unrotated)
    bias: float = 0.0
    kind: str = "far"  # "near", "sink", "far"


class SelectReference(Reference):
    """`states` has one for every layer and KV head, in order; `margin` the smallest gap that decided a choice,
    relative to the larger number. Exact ties do not count: their order is defined."""

    def __init__(self, config: FmaConfig, tensors: dict[str, Array]) -> None:
        super().__init__(config, tensors)
        self.states: list[HeadState] = []
        self.margin = math.inf

    def _attention(self, x: Array, name: str) -> Array:
        kv_heads = self.config.num_key_value_heads
        q, k, v = self._projections(x, name)
        share = q.shape[1] // kv_heads
        out = np.zeros_like(q)
        for kv in range(kv_heads):
            heads = slice(kv * share, (kv + 1) * share)
            out[:, heads] = self._kv_head(q[:, heads], k[:, kv], v[:, kv], kv * share, name)
        return self._linear(out.reshape(len(x), -1), name + "o_proj")

    def _kv_head(self, q: Array, k: Array, v: Array, first_head: int, name: str) -> Array:
        """[n, R, d]"""
        state = HeadState(np.zeros(len(k)), np.zeros(len(k)))
        self.states.append(state)
        out = np.zeros_like(q)
        for t in range(len(k)):
            self._choose_groups(state, k, t)
            opened = self._open_units(state, q[t], k, t) if self.fma.open_units else []
            sums: dict[int, float] = {}
            for r in range(q.shape[1]):
                entries = self._list(state, opened, t, first_head + r, name)
                scores = np.array([self._product(q[t, r], k, t, e) / math.sqrt(k.shape[1]) + e.bias for e in entries])
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                out[t, r] = weights @ v[[e.token for e in entries]]
                for entry, weight in zip(entries, weights):
                    if entry.kind == "far" or (entry.kind == "near" and t - entry.token >= self.fma.lag):
                        sums[entry.token] = sums.get(entry.token, 0.0) + weight
            for token, weight in sums.items():
                state.received[token] += weight  # those of opened tokens that do not represent a group are never read
        return out

    def _choose_groups(self, state: HeadState, k: Array, t: int) -> None:
        m, p, sinks = self.fma.group_size, self.fma.rank, self.fma.sink_tokens
        for level in range(self.fma.num_levels, 0, -1):
            width = self.fma.level_width(level)
            group = t // width - 2
            if t % width or group < 0:
                continue
            if level == 1:
                tokens = range(group * m, (group + 1) * m)
                state.novelty[list(tokens)] = self._leverage(k[list(tokens)])
                candidates = [s for s in tokens if s >= sinks]
            else:
                candidates = [s for child in (2 * group, 2 * group + 1) for s in state.view[level - 1, child]]
            by_attention = self._top(candidates, state.received, p - self.fma.novel)
            rest = [s for s in candidates if s not in by_attention]
            chosen = sorted(by_attention + self._top(rest, state.novelty, self.fma.novel))
            state.view[level, group] = chosen
            state.chosen.append((level, group, chosen))

    def _top(self, candidates: list[int], worth: Array, count: int) -> list[int]:
        order = sorted(candidates, key=lambda s: (-worth[s], s))
        if 0 < count < len(order):
            self._note_margin(worth[order[count - 1]], worth[order[count]])
        return order[:count]

    def _note_margin(self, last: float, following: float) -> None:
        if last != following:
            self.margin = min(self.margin, abs(last - following) / max(abs(last), abs(following)))

    @staticmethod
    def _leverage(keys: Array) -> Array:
        x = keys - keys.mean(0)
        spread = x.T @ x / len(x)
        mean = np.trace(spread) / len(spread)
        if mean <= 1e-10 * (keys * keys).mean():
            return np.zeros(len(keys))
        inverse = np.linalg.inv(spread + 0.1 * mean * np.eye(len(spread)))
        return np.round(np.einsum("ic,cd,id->i", x, inverse, x) * 1024) / 1024

    def _list(self, state: HeadState, opened: list[int], t: int, h: int, name: str) -> list[Entry]:
        m, u, sinks = self.fma.group_size, self.fma.unit_size, self.fma.sink_tokens
        rotated = self.config.far_positions == "own"
        fine = t // m
        entries = [Entry(s, "own", kind="near") for s in range(max(0, (fine - 1) * m), t + 1)]
        if fine >= 2:
            entries += [Entry(s, "sink", kind="sink") for s in range(sinks)]
        for level in range(1, self.fma.num_levels + 1):
            own = t // self.fma.level_width(level)
            form = "distant" if 0 < self.fma.max_distance < 4 * self.fma.level_width(level) else "own"
            for group in [own - 2, own - 3] if own % 2 else [own - 2]:
                for s in state.view.get((level, group), []):
                    if s // u not in opened:
                        entries.append(Entry(s, form if rotated else "plain", self._far_bias(h, level, name)))
        for j in opened:
            entries += [Entry(s, self._unit_form(j, t)) for s in range(j * u, (j + 1) * u) if s >= sinks]
        return entries

    def _product(self, q: Array, k: Array, t: int, entry: Entry) -> float:
        s, limit = entry.token, self.fma.max_distance
        if entry.form == "own":
            return self._turn(q, t) @ self._turn(k[s], s)
        if entry.form == "distant":
            return self._turn(q, limit) @ k[s]
        if entry.form == "sink" and self.config.far_positions == "own":
            return self._turn(q, min(t, limit or t)) @ self._turn(k[s], s)
        return q @ k[s]

    def _unit_form(self, j: int, t: int) -> str:
        m = self.fma.group_size
        group = j * self.fma.unit_size // m
        if self.config.far_positions != "own":
            return "plain"
        return "distant" if 0 < self.fma.max_distance < (t // m - group + 1) * m else "own"

    def _open_units(self, state: HeadState, q: Array, k: Array, t: int) -> list[int]:
        """For the queries [R, d] of position t."""
        u, sinks = self.fma.unit_size, self.fma.sink_tokens
        units = max(0, t // self.fma.group_size - 1) * self.fma.group_size // u
        scores = {}
        for j in range(units):
            tokens = range(j * u, (j + 1) * u)
            if tokens[-1] < sinks:
                continue
            form = self._unit_form(j, t)
            sketch = self._sketch(np.array([self._turn(k[s], s) if form == "own" else k[s] for s in tokens]))
            position = {"own": t, "distant": self.fma.max_distance, "plain": None}[form]
            asking = [x if position is None else self._turn(x, position) for x in q]
            scores[j] = max(x @ sketch[s - j * u] for x in asking for s in tokens if s >= sinks)
        order = sorted(scores, key=lambda j: (-scores[j], j))
        count = self.fma.open_units
        if count < len(order):
            self._note_margin(scores[order[count - 1]], scores[order[count]])
        if units:
            state.opened.append((t, sorted(order[:count])))
        return sorted(order[:count])

    @staticmethod
    def _sketch(keys: Array) -> Array:
        centre = keys.mean(0)
        z = keys - centre
        sigma = np.sqrt((z * z).mean(0))
        e = np.where(np.abs(z) < 0.98 * sigma, 0.453 * sigma, 1.51 * sigma) * np.where(z >= 0, 1.0, -1.0)
        along = [z[i] @ e[i] for i in range(len(keys))]
        return np.array([centre + (z[i] @ z[i] / along[i] if along[i] else 0.0) * e[i] for i in range(len(keys))])
