"""config.json: what is read, and what is refused."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from fma_training.config import ConfigError, FmaConfig, FmaSettings

GOOD = FmaConfig.load(ROOT / "training" / "configs" / "fma-books-11m").to_dict()
SELECT = {"downsampling": "select", "share_levels": False, "far_positions": "own"}

UNROTATED = {"position_embedding": "none", "far_positions": None}


def changed(**changes: Any) -> dict[str, Any]:
    keys = {field.name for field in fields(FmaSettings)} | {"unheard_of"}
    inner = {name: value for name, value in changes.items() if name in keys}
    outer = {name: value for name, value in changes.items() if name not in inner}
    return {**GOOD, **outer, "fma": {**GOOD["fma"], **inner}}


def test_round_trip(tmp_path: Path) -> None:
    config = FmaConfig.from_dict(changed(sink_tokens=3, eos_token_id=[3, 4]))
    config.save(tmp_path)
    assert FmaConfig.load(tmp_path) == config


@pytest.mark.parametrize(
    "changes",
    [
        {**SELECT, "select_lag": 127, "select_novel": 0, "max_distance": 256, "open_units": 3, "open_size": 16},
        {**SELECT, "rank": 61, "sink_tokens": 3, "far_positions": None, "position_embedding": "none"},
        {"causal": False, "query_downsampling": True, "architectures": ["FmaForMaskedLM"], "mask_token_id": 0},
        {"max_distance": 1000, "far_positions": None},
        {"qk_norm": True, "rope_factors": [1.0] * 31 + [8], "rope_attention_factor": 2, "layers_without_rope": [0, 5]},
    ],
)
def test_round_trip_of_every_kind(changes: dict[str, Any], tmp_path: Path) -> None:
    config = FmaConfig.from_dict(changed(**changes))
    config.save(tmp_path)
    assert FmaConfig.load(tmp_path) == config


def test_what_is_off_is_not_written() -> None:
    added = {"select_lag", "select_novel", "max_distance", "open_units", "open_size", "causal", "query_downsampling"}
    assert not added & FmaConfig.from_dict(GOOD).to_dict()["fma"].keys()
    outer = {"mask_token_id", "qk_norm", "rope_factors", "rope_attention_factor", "layers_without_rope"}
    assert not outer & FmaConfig.from_dict(GOOD).to_dict().keys()


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
        ({"position_embedding": "none"}, "far_positions none needs rope"),
        ({"norm_eps": float("nan")}, "norm_eps"),
        ({"hidden_size": 0}, "not positive"),
        ({"architectures": ["FmaForMaskedLM"]}, "without FmaForCausalLM as fma.causal True asks for"),
        ({"causal": False}, "without FmaForMaskedLM as fma.causal False asks for"),
        ({"causal": False, "padding": "zero_keys"}, "fma.padding zero_keys needs a causal model"),
        ({"causal": False, "sink_tokens": 2}, "fma.sink_tokens 2 needs a causal model"),
        ({**SELECT, "causal": False}, "fma.downsampling select needs a causal model"),
        ({"causal": False, "max_distance": 256, "far_positions": "center"}, "fma.max_distance 256 needs a causal"),
        ({"query_downsampling": True}, "fma.query_downsampling needs fma.causal false"),
        ({"mask_token_id": 4096}, r"mask_token_id 4096 is not in 0..4095"),
        ({"max_distance": 255, "far_positions": "center"}, r"fma.max_distance 255 is neither 0 nor at least .*256"),
        ({"max_distance": 256}, "fma.max_distance 256 needs rotated far positions, not none"),
        ({"max_distance": 256, "far_positions": None, "position_embedding": "none"}, "fma.max_distance 256 needs rope"),
        ({"far_positions": "own"}, "fma.far_positions own needs select"),
        ({"select_lag": 1}, "fma.select_lag needs select"),
        ({"qk_norm": 1}, "qk_norm is 1, not of type bool"),
        ({"rope_factors": [1.0] * 31}, r"rope_factors .* are not 32 numbers above 0 \(head_dim / 2\)"),
        ({"rope_factors": [1.0] * 31 + [0]}, "rope_factors"),
        ({"rope_factors": [1.0] * 31 + [float("nan")]}, "rope_factors"),
        ({"rope_factors": [True] * 32}, r"not of type list\[float\]"),
        ({"rope_attention_factor": 0}, "rope_attention_factor 0 is not a number above 0"),
        ({"layers_without_rope": [6]}, r"layers_without_rope \[6\] are not layers in 0..5 in ascending order"),
        ({"layers_without_rope": [1, 1]}, "layers_without_rope"),
        ({"layers_without_rope": [1.0]}, r"not of type list\[int\]"),
        ({**UNROTATED, "layers_without_rope": [1]}, r"layers_without_rope \[1\] needs rope"),
        ({**UNROTATED, "rope_attention_factor": 2.0}, "rope_attention_factor 2.0 needs rope"),
        ({"select_novel": 1}, "fma.select_novel needs select"),
        ({"open_units": 1}, "fma.open_units needs select"),
        ({**SELECT, "rank": 62, "sink_tokens": 3}, r"fma.rank 62 is not in 1..61 \(group_size - sink_tokens\)"),
        ({**SELECT, "share_levels": True}, "fma.share_levels needs hierarchical"),
        ({**SELECT, "scale_far_field": True}, "fma.scale_far_field has no meaning with select"),
        ({**SELECT, "padding": "zero_keys"}, "fma.padding zero_keys has no meaning with select"),
        ({**SELECT, "far_positions": "center"}, "fma.far_positions center has no meaning with select"),
        ({**SELECT, "position_embedding": "none"}, "fma.far_positions own needs rope"),
        ({**SELECT, "select_lag": 128}, r"fma.select_lag 128 is not in 0..127"),
        ({**SELECT, "select_novel": 5}, r"fma.select_novel 5 is not in 0..4"),
        ({**SELECT, "open_units": -1}, "fma.open_units -1 is negative"),
        ({**SELECT, "open_units": 1, "open_size": 48}, "fma.open_size 48 does not divide group_size 64"),
        ({**SELECT, "open_size": 0}, r"fma.open_size 0 is not in 1..64"),
    ],
)
def test_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FmaConfig.from_dict(changed(**changes))


def test_missing_key() -> None:
    with pytest.raises(ConfigError, match="head_dim is missing"):
        FmaConfig.from_dict({name: value for name, value in GOOD.items() if name != "head_dim"})
