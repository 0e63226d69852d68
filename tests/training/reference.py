"""The definition of FMA, evaluated from scratch for one token at a time in float64. Slow and plain."""

from __future__ import annotations

import math

import numpy as np
from fma_training.config import FmaConfig

Array = np.ndarray


class Reference:
    """A model as a dictionary of tensors and the definition's sentences."""

    def __init__(self, config: FmaConfig, tensors: dict[str, Array]) -> None:
        self.config, self.fma = config, config.fma
        self.rotates = True  # in the layer that is being evaluated
        self.tensors = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}

    def logits(self, tokens: list[int]) -> Array:
        """[n, V]"""
        tied = self.config.tie_word_embeddings
        return self.hidden(tokens) @ self.tensors["model.embed_tokens.weight" if tied else "lm_head.weight"].T

    def hidden(self, tokens: list[int]) -> Array:
        """norm(x) [n, hidden]"""
        x = self.tensors["model.embed_tokens.weight"][tokens]
        if self.config.position_embedding == "learned":
            x = x + self.tensors["model.embed_positions.weight"][: len(tokens)]
        for i in range(self.config.num_hidden_layers):
            name = f"model.layers.{i}."
            self.rotates = self.config.rotates(i)
            x = x + self._attention(self._norm(x, name + "input_layernorm"), name + "self_attn.")
            x = x + self._mlp(self._norm(x, name + "post_attention_layernorm"), name + "mlp.")
        return self._norm(x, "model.norm")

    def _linear(self, x: Array, name: str) -> Array:
        return x @ self.tensors[name + ".weight"].T + self.tensors.get(name + ".bias", 0.0)

    def _norm(self, x: Array, name: str) -> Array:
        if self.config.norm == "layernorm":
            x = x - x.mean(-1, keepdims=True)
        return self._rms_norm(x, name) + self.tensors.get(name + ".bias", 0.0)

    def _rms_norm(self, x: Array, name: str) -> Array:
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + self.config.norm_eps)
        return x * self.tensors[name + ".weight"]

    def _mlp(self, x: Array, name: str) -> Array:
        up = self._linear(x, name + "up_proj")
        if self.config.mlp == "swiglu":
            gate = self._linear(x, name + "gate_proj")
            inner = gate / (1 + np.exp(-gate)) * up
        elif self.config.mlp == "gelu":
            inner = up * 0.5 * (1 + np.vectorize(math.erf)(up / math.sqrt(2)))
        else:
            inner = up * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)))
        return self._linear(inner, name + "down_proj")

    def _attention(self, x: Array, name: str) -> Array:
        d, heads, kv_heads = self.config.head_dim, self.config.num_attention_heads, self.config.num_key_value_heads
        q, k, v = self._projections(x, name)
        out = np.zeros((len(x), heads, d))
        for t in range(len(x)):
            for h in range(heads):
                kv = h // (heads // kv_heads)
                out[t, h] = self._attend(q[:, h], k[:, kv], v[:, kv], t, h, name)
        return self._linear(out.reshape(len(x), -1), name + "o_proj")

    def _projections(self, x: Array, name: str) -> tuple[Array, Array, Array]:
        """Queries [n, H, d], keys and values [n, K, d]."""
        d = self.config.head_dim
        q, k, v = (self._linear(x, f"{name}{c}_proj").reshape(len(x), -1, d) for c in "qkv")
        if self.config.qk_norm:
            q, k = self._rms_norm(q, name + "q_norm"), self._rms_norm(k, name + "k_norm")
        if self.rotates:
            q = q * self.config.rope_attention_factor**2
        return q, k, v

    def _attend(self, q: Array, k: Array, v: Array, t: int, h: int, name: str) -> Array:
        """Query t of head h's queries [n, d] against keys and values [n, d] of its KV head."""
        q, m, d = q[t], self.fma.group_size, self.config.head_dim
        entries: list[tuple[float, Array]] = []  # score, value
        turned = self._turn(q, t)
        for s in range(max(0, (t // m - 1) * m), t + 1):
            entries.append((turned @ self._turn(k[s], s) / math.sqrt(d), v[s]))
        if t // m == 0 and self.fma.padding == "zero_keys":
            entries += [(0.0, np.zeros(d))] * m
        if t // m >= 2:
            for s in range(self.fma.sink_tokens):
                position = min(t, self.fma.max_distance or t)
                entries.append((self._far_turn(q, position) @ self._far_turn(k[s], s) / math.sqrt(d), v[s]))
        for level in range(1, self.fma.num_levels + 1):
            entries += self._far_entries(q, k, v, t, h, name, level)
        return self._softmax(entries)

    @staticmethod
    def _softmax(entries: list[tuple[float, Array]]) -> Array:
        """The weighted mean of entries (score, value)."""
        scores = np.array([score for score, _ in entries])
        weights = np.exp(scores - scores.max())
        return weights / weights.sum() @ np.array([value for _, value in entries])

    def _far_entries(
        self, q: Array, k: Array, v: Array, t: int, h: int, name: str, level: int
    ) -> list[tuple[float, Array]]:
        p, width, d = self.fma.rank, self.fma.level_width(level), self.config.head_dim
        own, limit = t // width, self.fma.max_distance
        extra = self._far_bias(h, level, name)
        entries = []
        for group in [own - 2, own - 3] if own % 2 else [own - 2]:
            if group < 0:
                entries += [(extra, np.zeros(d))] * (p if self.fma.padding == "zero_keys" else 0)
                continue
            keys = self._summaries(k, level, group, name + "k_downsample.")
            values = self._summaries(v, level, group, name + "v_downsample.")
            for r in range(p):
                centre = group * width + (r + 0.5) * width / p - 0.5
                product = self._far_turn(q, t) @ self._far_turn(keys[r], centre)
                if 0 < limit < 4 * width:
                    product = self._turn(q, limit) @ keys[r]
                entries.append((product / math.sqrt(d) + extra, values[r]))
        return entries

    def _far_bias(self, h: int, level: int, name: str) -> float:
        extra = math.log(self.fma.level_width(level) // self.fma.rank) if self.fma.scale_far_field else 0.0
        if self.fma.level_bias:
            bias = self.tensors[name + "level_bias.weight"]
            extra += bias[h, min(level, bias.shape[1]) - 1]
        return extra

    def _summaries(self, x: Array, level: int, group: int, name: str) -> Array:
        """[p, d] of one group of keys or values x [n, d]."""
        p, width, d = self.fma.rank, self.fma.level_width(level), self.config.head_dim
        tokens = x[group * width : (group + 1) * width]
        if self.fma.downsampling == "average":
            return tokens.reshape(p, width // p, d).mean(1)
        if self.fma.downsampling == "hierarchical" and level > 1:
            tokens = np.concatenate([self._summaries(x, level - 1, 2 * group + i, name) for i in (0, 1)])
        return self._taps(tokens, level, name)

    def _taps(self, tokens: Array, level: int, name: str) -> Array:
        """The learned summaries [p, d] of tokens, or of children's summaries, [taps, d]."""
        p, d = self.fma.rank, self.config.head_dim
        index = 1 if self.fma.share_levels and level > 1 else level - 1
        weight, bias = self.tensors[f"{name}{index}.weight"], self.tensors[f"{name}{index}.bias"]
        out = np.zeros((p, d))
        for c in range(d):
            for r in range(p):
                row = weight[c * p + r]
                sources = tokens.T if self.fma.downsampling == "conv" else tokens[:, c][None]
                out[r, c] = bias[c * p + r] + (row * sources).sum()
        return out

    def _turn(self, x: Array, position: float) -> Array:
        """x [d] rotated by its position, under rope."""
        if self.config.position_embedding != "rope" or not self.rotates:
            return x
        half = len(x) // 2
        frequency = self.config.rope_theta ** (-np.arange(half) / half)
        angle = position * frequency / np.array(self.config.rope_factors or [1.0] * half)
        a, b = x[:half], x[half:]
        return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)])

    def _far_turn(self, x: Array, position: float) -> Array:
        return self._turn(x, position) if self.config.far_positions == "center" else x
