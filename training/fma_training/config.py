"""The configuration of an FMA model, read from and written to a Hugging Face style config.json.

Key names and their meaning: the attention definition, "Around the attention".
"""

from __future__ import annotations

import json
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
        if self.position_embedding == "rope":
            require(self.head_dim % 2 == 0, f"rope needs an even head_dim, not {self.head_dim}")
            require(self.rope_theta > 0, f"rope_theta {self.rope_theta} is not positive")
        else:
            unrotated = (None,) if self.fma.selects else (None, "center")
            require(self.fma.far_positions in unrotated, f"fma.far_positions {self.fma.far_positions} needs rope")
            require(self.fma.max_distance == 0, f"fma.max_distance {self.fma.max_distance} needs rope")
        require(
            self.fma.max_distance == 0 or self.far_positions != "none",
            f"fma.max_distance {self.fma.max_distance} needs rotated far positions, not none",
        )
        require(
            self.mask_token_id is None or 0 <= self.mask_token_id < self.vocab_size,
            f"mask_token_id {self.mask_token_id} is not in 0..{self.vocab_size - 1}",
        )

    @property
    def architecture(self) -> str:
        return "FmaForCausalLM" if self.fma.causal else "FmaForMaskedLM"

    @property
    def far_positions(self) -> str:
        """The position of far entries: the `center` of their share, their `own` position, or `none`."""
        if self.position_embedding != "rope":
            return "none"
        return self.fma.far_positions or ("own" if self.fma.selects else "center")

    def seems_distant(self, level: int) -> bool:
        """Whether every entry of a level is treated as exactly max_distance away."""
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
        for absent in ("tokenizer", "mask_token_id"):
            if values[absent] is None:
                del values[absent]
        fma = self.fma.to_dict()  # last, as the longest
        return {"architectures": [self.architecture], "model_type": "fma", **values, "fma": fma}

    @staticmethod
    def load(path: Path) -> FmaConfig:
        """Reads a file, or the config.json of a folder."""
        file = path / CONFIG_FILE if path.is_dir() else path
        return FmaConfig.from_dict(json.loads(file.read_text("utf-8")))

    def save(self, folder: Path) -> None:
        (folder / CONFIG_FILE).write_text(json.dumps(self.to_dict(), indent=2) + "\n", "utf-8")
