"""The configuration of an FMA model, read from and written to a Hugging Face style config.json.

Key names and their meaning: the attention definition, "Around the attention".
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

CONFIG_FILE = "config.json"
DOWNSAMPLINGS = ("grouped_conv", "conv", "average", "hierarchical")
PADDINGS = ("masked", "zero_keys")
POSITIONS = ("learned", "rope", "none")
FAR_POSITIONS = ("center", "none")
NORMS = ("layernorm", "rmsnorm")
MLPS = ("gelu", "gelu_tanh", "swiglu")
TOKENIZERS = (None, "bytes")


class ConfigError(ValueError):
    """A configuration that describes no model."""


@dataclass(frozen=True)
class FmaSettings:
    """The `fma` object of config.json. m, p, L are the symbols of the definition."""

    group_size: int  # m
    rank: int  # p
    num_levels: int  # L
    downsampling: str = "hierarchical"
    share_levels: bool = False
    scale_far_field: bool = False
    padding: str = "masked"
    level_bias: bool = False
    sink_tokens: int = 0
    far_positions: str = "center"

    def __post_init__(self) -> None:
        _require(1 <= self.group_size <= 1 << 16, f"fma.group_size {self.group_size} is not in 1..65536")
        _require(1 <= self.rank <= self.group_size, f"fma.rank {self.rank} is not in 1..group_size")
        _require(self.group_size % self.rank == 0, f"fma.rank {self.rank} does not divide group_size {self.group_size}")
        _require(0 <= self.num_levels <= 40, f"fma.num_levels {self.num_levels} is not in 0..40")
        _require(0 <= self.sink_tokens <= self.group_size, f"fma.sink_tokens {self.sink_tokens} exceeds group_size")
        _one_of("fma.downsampling", self.downsampling, DOWNSAMPLINGS)
        _one_of("fma.padding", self.padding, PADDINGS)
        _one_of("fma.far_positions", self.far_positions, FAR_POSITIONS)
        _require(
            not self.share_levels or self.downsampling == "hierarchical",
            f"fma.share_levels needs hierarchical downsampling, not {self.downsampling}",
        )

    def level_width(self, level: int) -> int:
        """w_l, the tokens in a group of level 1..L."""
        return self.group_size << (level - 1)


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
    bos_token_id: int | list[int] | None = None
    eos_token_id: int | list[int] | None = None
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
            _require(getattr(self, name) >= 1, f"{name} {getattr(self, name)} is not positive")
        _require(
            self.num_attention_heads % self.num_key_value_heads == 0,
            f"num_key_value_heads {self.num_key_value_heads} does not divide {self.num_attention_heads} heads",
        )
        _one_of("position_embedding", self.position_embedding, POSITIONS)
        _one_of("norm", self.norm, NORMS)
        _one_of("mlp", self.mlp, MLPS)
        _one_of("tokenizer", self.tokenizer, TOKENIZERS)
        _require(0 < self.norm_eps < 1, f"norm_eps {self.norm_eps} is not in (0, 1)")
        if self.position_embedding == "rope":
            _require(self.head_dim % 2 == 0, f"rope needs an even head_dim, not {self.head_dim}")
            _require(self.rope_theta > 0, f"rope_theta {self.rope_theta} is not positive")
        else:
            _require(self.fma.far_positions == "center", "fma.far_positions needs rope")

    @property
    def rotates_far_field(self) -> bool:
        """Whether queries meet summaries and sinks rotated by their positions."""
        return self.position_embedding == "rope" and self.fma.far_positions == "center"

    @staticmethod
    def from_dict(values: dict[str, Any]) -> FmaConfig:
        """Reads a config.json object. Unknown keys are errors in `fma` and ignored outside it."""
        _require(values.get("model_type") == "fma", f'model_type is {values.get("model_type")!r}, not "fma"')
        _require(isinstance(values.get("fma"), dict), "the fma object is missing")
        settings = FmaSettings(**_typed(FmaSettings, values["fma"], "fma."))
        known = {f.name for f in fields(FmaConfig)} - {"fma"}
        outer = {name: value for name, value in values.items() if name in known}
        return FmaConfig(fma=settings, **_typed(FmaConfig, outer, ""))

    def to_dict(self) -> dict[str, Any]:
        values = {"architectures": ["FmaForCausalLM"], "model_type": "fma", **asdict(self)}
        values["fma"] = values.pop("fma")  # last, as the longest
        if self.tokenizer is None:
            del values["tokenizer"]
        return values

    @staticmethod
    def load(path: Path) -> FmaConfig:
        """Reads a file, or the config.json of a folder."""
        file = path / CONFIG_FILE if path.is_dir() else path
        return FmaConfig.from_dict(json.loads(file.read_text("utf-8")))

    def save(self, folder: Path) -> None:
        (folder / CONFIG_FILE).write_text(json.dumps(self.to_dict(), indent=2) + "\n", "utf-8")


_CHECKS = {
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "float": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "bool": lambda v: isinstance(v, bool),
    "str": lambda v: isinstance(v, str),
    "str | None": lambda v: v is None or isinstance(v, str),
    "int | list[int] | None": lambda v: (
        v is None or all(isinstance(i, int) and not isinstance(i, bool) for i in (v if isinstance(v, list) else [v]))
    ),
}


def _typed(kind: type, values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """`values` after checking names and JSON types against the fields of a dataclass."""
    types = {f.name: f.type for f in fields(kind)}
    required = {f.name for f in fields(kind) if f.default is f.default_factory and f.name != "fma"}
    for name, value in values.items():
        _require(name in types, f"unknown key {prefix}{name}")
        _require(_CHECKS[types[name]](value), f"{prefix}{name} is {value!r}, not of type {types[name]}")
    for name in required - values.keys():
        raise ConfigError(f"{prefix}{name} is missing")
    return values


def _one_of(name: str, value: str | None, allowed: tuple[str | None, ...]) -> None:
    _require(value in allowed, f"{name} is {value!r}, not one of {', '.join(map(str, allowed))}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)
