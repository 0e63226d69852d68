"""The configuration of an FMA model, read from and written to a Hugging Face style config.json.

Key names and their meaning: the attention definition, "Around the attention".
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .checks import ConfigError, Words, in_range, one_of, require, typed
from .settings import FmaSettings

__all__ = ["CONFIG_FILE", "ConfigError", "FmaConfig", "FmaSettings"]

CONFIG_FILE = "config.json"
POSITIONS = ("learned", "rope", "none")
NORMS = ("layernorm", "rmsnorm")
MLPS = ("gelu", "gelu_tanh", "swiglu")
TOKENIZERS = (None, "bytes")
# The server's ranges (docs/model.md), so that whatever is trained can be served.
RANGES = {
    "vocab_size": (1, 1 << 24),
    "hidden_size": (1, 1 << 16),
    "intermediate_size": (1, 1 << 20),
    "num_hidden_layers": (1, 1024),
    "num_attention_heads": (1, 1024),
    "num_key_value_heads": (1, 1024),
    "head_dim": (1, 1024),
    "max_position_embeddings": (1, 1 << 40),
}
ROPE_OPTIONS = ("rope_factors", "rope_attention_factor", "layers_without_rope")


@dataclass(frozen=True)
class FmaConfig:
    """Everything that determines the shape and the mathematics of a model."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int  # H
    num_key_value_heads: int  # K
    head_dim: int  # d
    max_position_embeddings: int
    fma: FmaSettings
    position_embedding: str = "rope"
    rope_theta: float = 10000.0
    norm: str = "rmsnorm"
    norm_eps: float = 1e-5
    mlp: str = "swiglu"
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False
    qk_norm: bool = False
    rope_factors: list[float] | None = None
    rope_attention_factor: float = 1.0
    layers_without_rope: list[int] | None = None
    bos_token_id: int | list[int] | None = None
    eos_token_id: int | list[int] | None = None
    mask_token_id: int | None = None
    tokenizer: str | None = None
    torch_dtype: str = field(default="float32", compare=False)

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            in_range(name, getattr(self, name), low, high)
        divides = self.num_attention_heads % self.num_key_value_heads == 0
        heads = f"divisors of num_attention_heads ({self.num_attention_heads})"
        require(divides, "num_key_value_heads", self.num_key_value_heads, heads)
        one_of("position_embedding", self.position_embedding, POSITIONS)
        one_of("norm", self.norm, NORMS)
        one_of("mlp", self.mlp, MLPS)
        one_of("tokenizer", self.tokenizer, TOKENIZERS)
        require(0 < self.norm_eps < 1, "norm_eps", self.norm_eps, "above 0 and below 1")
        self._check_positions()
        if self.mask_token_id is not None:
            in_range("mask_token_id", self.mask_token_id, 0, self.vocab_size - 1)

    @property
    def architecture(self) -> str:
        return "FmaForCausalLM" if self.fma.causal else "FmaForMaskedLM"

    @property
    def far_positions(self) -> str:
        """The position of far entries: the `center` of their share, their `own` position, or `none`."""
        if self.position_embedding != "rope":
            return "none"
        return self.fma.far_positions or ("own" if self.fma.selects else "center")

    def rotates(self, layer: int) -> bool:
        """Whether queries and keys of a layer, counted from 0, are rotated."""
        return self.position_embedding == "rope" and layer not in (self.layers_without_rope or [])

    def seems_distant(self, level: int) -> bool:
        """Whether every entry of a level is treated as exactly max_distance away."""
        return 0 < self.fma.max_distance < 4 * self.fma.level_width(level)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> FmaConfig:
        """Reads a config.json object. Unknown keys are errors in `fma` and ignored outside it."""
        require(values.get("model_type") == "fma", "model_type", values.get("model_type"), '"fma"')
        require(isinstance(values.get("fma"), dict), "fma", Words("missing"), "an object")
        settings = FmaSettings(**typed(FmaSettings, values["fma"], "fma."))
        known = {f.name for f in fields(FmaConfig)} - {"fma"}
        outer = {name: value for name, value in values.items() if name in known}
        config = FmaConfig(fma=settings, **typed(FmaConfig, outer, ""))
        named = values.get("architectures", [config.architecture])
        known_here = isinstance(named, list) and config.architecture in named
        causal = "true" if settings.causal else "false"
        require(
            known_here, "architectures", named, f"a list with {config.architecture}, because fma.causal is {causal}"
        )
        return config

    def to_dict(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "fma"}
        optional = ("tokenizer", "mask_token_id", "qk_norm", *ROPE_OPTIONS)
        values = {name: value for name, value in values.items() if name not in optional or value != DEFAULTS[name]}
        fma = self.fma.to_dict()  # last, as the longest
        return {"architectures": [self.architecture], "model_type": "fma", **values, "fma": fma}

    @staticmethod
    def load(path: Path) -> FmaConfig:
        """Reads a file, or the config.json of a folder."""
        file = path / CONFIG_FILE if path.is_dir() else path
        return FmaConfig.from_dict(json.loads(file.read_text("utf-8")))

    def save(self, folder: Path) -> None:
        (folder / CONFIG_FILE).write_text(json.dumps(self.to_dict(), indent=2) + "\n", "utf-8")

    def _check_positions(self) -> None:
        distance = self.fma.max_distance
        if self.position_embedding == "rope":
            require(self.head_dim % 2 == 0, "head_dim", self.head_dim, "even numbers with rope")
            require(self.rope_theta > 0, "rope_theta", self.rope_theta, "above 0")
            self._check_rope_options()
        else:
            unrotated = (None,) if self.fma.selects else (None, "center")
            far = self.fma.far_positions
            require(far in unrotated, "fma.far_positions", far, "with rope only")
            require(distance == 0, "fma.max_distance", distance, "0 without rope")
            for name in ROPE_OPTIONS:
                require(getattr(self, name) == DEFAULTS[name], name, getattr(self, name), "with rope only")
        rotated = self.far_positions != "none"
        require(distance == 0 or rotated, "fma.max_distance", distance, "0 with far positions none")

    def _check_rope_options(self) -> None:
        pairs, factors = self.head_dim // 2, self.rope_factors
        if factors is not None:
            good = len(factors) == pairs and all(0 < factor < math.inf for factor in factors)
            require(good, "rope_factors", factors, f"{pairs} numbers above 0 (head_dim / 2)")
        factor = self.rope_attention_factor
        require(0 < factor < math.inf, "rope_attention_factor", factor, "a number above 0")
        layers, last = self.layers_without_rope or [], self.num_hidden_layers - 1
        good = layers == sorted(set(layers)) and all(0 <= layer <= last for layer in layers)
        require(good, "layers_without_rope", layers, f"layers from 0 to {last} in ascending order")


DEFAULTS = {f.name: f.default for f in fields(FmaConfig)}
