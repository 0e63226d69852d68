"""One row of the comparison.

recipes/FAMILY.toml is what all rows of a family share, recipes/FAMILY/ROW.toml the rest.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fma_training.checks import refusal
from fma_training.config import FmaConfig, FmaSettings
from fma_training.model import FmaModel, MakeAttention, make_model

from .attentions import make_attention

FOLDER = Path(__file__).parent / "recipes"
REFERENCE = "full"  # the row whose number of parameters the others are given


@dataclass(frozen=True)
class Recipe:
    name: str  # FAMILY/ROW
    title: str
    attention: str  # a key of KINDS, or fma
    model: dict[str, Any]  # config.json without fma
    training: dict[str, Any]  # options of fma_training.train
    fma: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)  # of the attention
    equal_parameters: bool = True  # narrow the MLP by what the attention's own weights add
    blocks_at_once: int | None = None  # as in fma_training.train, when memory and time are measured

    @property
    def file_name(self) -> str:
        return self.name.replace("/", "-")

    @property
    def context(self) -> int:
        return int(self.training["context"])

    def changed(self, training: dict[str, Any]) -> Recipe:
        """The same with other options of training."""
        return replace(self, training={**self.training, **training})

    def make_attention(self) -> MakeAttention:
        return make_attention(self.attention, self.options)

    def config(self, context: int) -> FmaConfig:
        """The model for a context, whose beginning its levels reach, with as many parameters as the reference."""
        config = self.wide_config(context)
        if not self.equal_parameters or self.name.endswith(f"/{REFERENCE}"):
            return config
        target = parameters(load(f"{self.name.split('/')[0]}/{REFERENCE}").make_model(context))
        spare = target - parameters(self._of(config))
        wider = replace(config, intermediate_size=config.intermediate_size + 1)
        width = config.intermediate_size + spare // (parameters(self._of(wider)) - parameters(self._of(config)))
        if width < 1:
            raise ValueError(refusal(f"{self.name}: equal_parameters", True, "false for so large a downsampling"))
        return replace(config, intermediate_size=width)

    def make_model(self, context: int) -> FmaModel:
        return self._of(self.config(context))

    def make_wide_model(self, context: int) -> FmaModel:
        """The MLPs are those of the reference, whatever the attention's own weights add."""
        return self._of(self.wide_config(context))

    def _of(self, config: FmaConfig) -> FmaModel:
        return make_model(config, attention=self.make_attention())

    def wide_config(self, context: int) -> FmaConfig:
        levels = max(1, (context // self.fma["group_size"]).bit_length() - 2)
        return FmaConfig(**{**self.model, "fma": FmaSettings(**{**self.fma, "num_levels": levels})})


def parameters(model: FmaModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def names() -> list[str]:
    """All rows, family by family."""
    return sorted(f"{file.parent.name}/{file.stem}" for file in FOLDER.glob("*/*.toml"))


def load(name: str) -> Recipe:
    if name not in names():
        raise ValueError(refusal("recipe", name, ", ".join(names())))
    shared = _read(f"{name.split('/')[0]}.toml")
    own = _read(f"{name}.toml")
    training, fma = ({**shared.pop(table), **own.pop(table, {})} for table in ("training", "fma"))
    return Recipe(name=name, training=training, fma=fma, **shared, **own)


def recall_task() -> dict[str, Any]:
    """`rows`, those that a recall of names is worth looking at, and `training`, what they change for it."""
    return _read("recall.toml")


def _read(file: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / file).read_text("utf-8"))
