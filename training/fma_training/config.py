"""The configuration of an FMA model, read from and written to a Hugging Face style config.json.

Key names and their meaning: the attention definition, "Around the attention".
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .checks import ConfigError, one_of, require, typed
from .settings import FmaSettings

__all__ = ["CONFIG_FILE", "ConfigError", "FmaConfig", "FmaSettings"]

CONFIG_FILE = "config.json"
POSITIONS = ("learned", "rope", "none")
NORMS = ("layernorm", "rmsnorm")
MLPS = ("gelu", "gelu_tanh", "swiglu")
TOKENIZERS = (None, "bytes")
ROPE_OPTIONS = ("rope_factors", "rope_attention_factor", "layers_without_rope")


@dataclass(frozen=True)
class FmaConfig:
    """Everything that fixes the shape and the mathematics of a model."""

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
        for name in (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
            "max_position_embeddings",
        ):
            require(getattr(self, name) >= 1, f"{name} {getattr(self, name)} is not positive")
        require(
            self.num_attention_heads % self.num_key_value_heads == 0,
            f"num_key_value_heads {self.num_key_value_heads} does not divide {self.num_attention_heads} heads",
        )
        one_of("position_embedding", self.position_embedding, POSITIONS)
        one_of("norm", self.norm, NORMS)
        one_of("mlp", self.mlp, MLPS)
        one_of("tokenizer", self.tokenizer, TOKENIZERS)
        require(0 < self.norm_eps < 1, f"norm_eps {self.norm_eps} is not in (0, 1)")
        self._check_positions()
        require(
            self.mask_token_id is None or 0 <= self.mask_token_id < self.vocab_size,
            f"mask_token_id {self.mask_token_id} is not in 0..{self.vocab_size - 1}",
        )

    @property
    def architecture(self) -> str:
        return "FmaForCausalLM" if self.fma.causal else "FmaForMaskedLM"

    @property
    def far_positions(self) -> str:
        """Where far entries are met: at the `center` of their share, at their `own` position, or at `none`."""
        if self.position_embedding != "rope":
            return "none"
        return self.fma.far_positions or ("own" if self.fma.selects else "center")

    def rotates(self, layer: int) -> bool:
        """Whether queries and keys of a layer, counted from 0, are rotated."""
        return self.position_embedding == "rope" and layer not in (self.layers_without_rope or [])

    def seems_distant(self, level: int) -> bool:
        """Whether every entry of a level seems to be exactly max_distance away."""
        return 0 < self.fma.max_distance < 4 * self.fma.level_width(level)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> FmaConfig:
        """Reads a config.json object. Unknown keys are errors in `fma` and ignored outside it."""
        require(values.get("model_type") == "fma", f'model_type is {values.get("model_type")!r}, not "fma"')
        require(isinstance(values.get("fma"), dict), "the fma object is missing")
        settings = FmaSettings(**typed(FmaSettings, values["fma"], "fma."))
        known = {f.name for f in fields(FmaConfig)} - {"fma"}
        outer = {name: value for name, value in values.items() if name in known}
        config = FmaConfig(fma=settings, **typed(FmaConfig, outer, ""))
        named = values.get("architectures", [config.architecture])
        require(
            isinstance(named, list) and config.architecture in named,
            f"architectures is {named!r}, without {config.architecture} as fma.causal {settings.causal} asks for",
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
        if self.position_embedding == "rope":
            require(self.head_dim % 2 == 0, f"rope needs an even head_dim, not {self.head_dim}")
            require(self.rope_theta > 0, f"rope_theta {self.rope_theta} is not positive")
            self._check_rope_options()
        else:
            unrotated = (None,) if self.fma.selects else (None, "center")
            require(self.fma.far_positions in unrotated, f"fma.far_positions {self.fma.far_positions} needs rope")
            require(self.fma.max_distance == 0, f"fma.max_distance {self.fma.max_distance} needs rope")
            for name in ROPE_OPTIONS:
                require(getattr(self, name) == DEFAULTS[name], f"{name} {getattr(self, name)} needs rope")
        require(
            self.fma.max_distance == 0 or self.far_positions != "none",
            f"fma.max_distance {self.fma.max_distance} needs rotated far positions, not none",
        )

    def _check_rope_options(self) -> None:
        pairs, layers = self.head_dim // 2, self.layers_without_rope or []
        if self.rope_factors is not None:
            good = len(self.rope_factors) == pairs and all(0 < factor < math.inf for factor in self.rope_factors)
            require(good, f"rope_factors {self.rope_factors} are not {pairs} numbers above 0 (head_dim / 2)")
        factor = self.rope_attention_factor
        require(0 < factor < math.inf, f"rope_attention_factor {factor} is not a number above 0")
        require(
            layers == sorted(set(layers)) and all(0 <= layer < self.num_hidden_layers for layer in layers),
            f"layers_without_rope {layers} are not layers in 0..{self.num_hidden_layers - 1} in ascending order",
        )


DEFAULTS = {f.name: f.default for f in fields(FmaConfig)}
