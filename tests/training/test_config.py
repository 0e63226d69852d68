"""config.json: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from fma_training.config import ConfigError, FmaConfig

GOOD = FmaConfig.load(ROOT / "training" / "configs" / "fma-books-11m").to_dict()


def changed(**changes: Any) -> dict[str, Any]:
    inner = {name: value for name, value in changes.items() if name in GOOD["fma"] or name == "unheard_of"}
    outer = {name: value for name, value in changes.items() if name not in inner}
    return {**GOOD, **outer, "fma": {**GOOD["fma"], **inner}}


def test_round_trip(tmp_path: Path) -> None:
    config = FmaConfig.from_dict(changed(sink_tokens=3, eos_token_id=[3, 4]))
    config.save(tmp_path)
    assert FmaConfig.load(tmp_path) == config


def test_unknown_outer_keys_are_ignored() -> None:
    assert FmaConfig.from_dict({**GOOD, "transformers_version": "4"}) == FmaConfig.from_dict(GOOD)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"unheard_of": 1}, "unknown key fma.unheard_of"),
        ({"model_type": "llama"}, "model_type"),
        ({"rank": 3}, "does not divide"),
        ({"rank": "4"}, "not of type int"),
        ({"rank": True}, "not of type int"),
        ({"sink_tokens": 65}, "sink_tokens"),
        ({"downsampling": "average"}, "share_levels needs hierarchical"),
        ({"downsampling": "max"}, "not one of"),
        ({"num_key_value_heads": 4}, "does not divide"),
        ({"position_embedding": "none"}, "far_positions needs rope"),
        ({"norm_eps": float("nan")}, "norm_eps"),
        ({"hidden_size": 0}, "not positive"),
    ],
)
def test_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FmaConfig.from_dict(changed(**changes))


def test_missing_key() -> None:
    with pytest.raises(ConfigError, match="head_dim is missing"):
        FmaConfig.from_dict({name: value for name, value in GOOD.items() if name != "head_dim"})
