"""config.json: what is accepted, and what is refused."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from fma_training.config import RANGES, ConfigError, FmaConfig, FmaSettings

GOOD = FmaConfig.load(ROOT / "training" / "configs" / "fma-books-11m").to_dict()
SELECT = {"downsampling": "select", "share_levels": False, "far_positions": "own"}

UNROTATED = {"position_embedding": "none", "far_positions": None}


# "| `key` (X) | 1 to 2^24; more | error |": the ranges that the document gives.
DOCUMENTED = re.compile(r"^\| `(\w+)`(?: \(\w\))? \| ([\d,^]+) to ([\d,^]+)[;|\s]", re.MULTILINE)


def documented_ranges() -> dict[str, tuple[int, int]]:
    text = (ROOT / "docs" / "model.md").read_text()

    def number(words: str) -> int:
        base, _, power = words.replace(",", "").partition("^")
        return int(base) ** int(power or 1)

    return {name: (number(low), number(high)) for name, low, high in DOCUMENTED.findall(text)}


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


def test_the_document_gives_ranges() -> None:
    ranges = documented_ranges()
    assert ranges["group_size"] == (1, 4096) and ranges["vocab_size"] == (1, 1 << 24)
    assert ranges.keys() >= RANGES.keys() - {"num_key_value_heads"} | {"num_levels"}


@pytest.mark.parametrize("name, low, high", [(name, *limits) for name, limits in documented_ranges().items()])
def test_ranges_are_those_of_the_document(name: str, low: int, high: int) -> None:
    allowed = f"allowed: {low} to {high}"
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=rf"{name} is {value}; {allowed}"):
            FmaConfig.from_dict(changed(**{name: value}))
    for value in (low, high):
        try:
            FmaConfig.from_dict(changed(**{name: value}))
        except ConfigError as error:  # by another key, which this one rules
            assert not re.search(rf"\b{name} is {value}; {allowed}", str(error))


def test_unknown_outer_keys_are_ignored() -> None:
    assert FmaConfig.from_dict({**GOOD, "transformers_version": "4"}) == FmaConfig.from_dict(GOOD)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"unheard_of": 1}, "fma.unheard_of is an unknown key; allowed: "),
        ({"model_type": "llama"}, 'model_type is "llama"; allowed: "fma"'),
        ({"rank": 3}, r"fma.rank is 3; allowed: divisors of group_size \(64\)"),
        ({"rank": "4"}, 'fma.rank is "4"; allowed: int'),
        ({"rank": True}, "fma.rank is true; allowed: int"),
        ({"sink_tokens": 65}, r"fma.sink_tokens is 65; allowed: 0 to 64 \(group_size\)"),
        ({"downsampling": "average"}, "fma.share_levels is true; allowed: false, or downsampling hierarchical"),
        ({"downsampling": "max"}, 'fma.downsampling is "max"; allowed: '),
        ({"num_key_value_heads": 4}, "num_key_value_heads is 4; allowed: divisors of"),
        ({"position_embedding": "none"}, 'fma.far_positions is "none"; allowed: with rope only'),
        ({"norm_eps": float("nan")}, "norm_eps is NaN; allowed: above 0"),
        ({"hidden_size": 0}, "hidden_size is 0; allowed: 1 to 65536"),
        ({"architectures": ["FmaForMaskedLM"]}, "a list with FmaForCausalLM, because fma.causal is true"),
        ({"causal": False}, "a list with FmaForMaskedLM, because fma.causal is false"),
        ({"causal": False, "padding": "zero_keys"}, 'fma.padding is "zero_keys"; allowed: masked in an encoder'),
        ({"causal": False, "sink_tokens": 2}, "fma.sink_tokens is 2; allowed: 0 in an encoder"),
        ({**SELECT, "causal": False}, 'fma.downsampling is "select"; allowed: .* in an encoder'),
        ({"causal": False, "max_distance": 256, "far_positions": "center"}, "fma.max_distance is 256; .* an encoder"),
        ({"query_downsampling": True}, "fma.query_downsampling is true; allowed: false, or fma.causal false"),
        ({"mask_token_id": 4096}, "mask_token_id is 4096; allowed: 0 to 4095"),
        ({"max_distance": 255, "far_positions": "center"}, r"fma.max_distance is 255; allowed: 0, or .*256\) and more"),
        ({"max_distance": 256}, "fma.max_distance is 256; allowed: 0 with far positions none"),
        ({"max_distance": 256, "far_positions": None, "position_embedding": "none"}, "is 256; allowed: 0 without rope"),
        ({"far_positions": "own"}, 'fma.far_positions is "own"; allowed: with select only'),
        ({"select_lag": 1}, "fma.select_lag is 1; allowed: with select only"),
        ({"select_novel": 1}, "fma.select_novel is 1; allowed: with select only"),
        ({"open_units": 1}, "fma.open_units is 1; allowed: 0 without select"),
        ({**SELECT, "rank": 62, "sink_tokens": 3}, r"is 62; allowed: 1 to 61 \(group_size - sink_tokens\)"),
        ({**SELECT, "share_levels": True}, "fma.share_levels is true; allowed: false, or"),
        ({**SELECT, "scale_far_field": True}, "fma.scale_far_field is true; allowed: false with select"),
        ({**SELECT, "padding": "zero_keys"}, 'fma.padding is "zero_keys"; allowed: masked with select'),
        ({**SELECT, "far_positions": "center"}, 'fma.far_positions is "center"; allowed: own or none with select'),
        ({**SELECT, "position_embedding": "none"}, 'fma.far_positions is "own"; allowed: with rope only'),
        ({**SELECT, "select_lag": 128}, "fma.select_lag is 128; allowed: 0 to 127"),
        ({**SELECT, "select_novel": 5}, "fma.select_novel is 5; allowed: 0 to 4"),
        ({**SELECT, "open_units": -1}, "fma.open_units is -1; allowed: 0 to 65536"),
        ({**SELECT, "open_units": 1, "open_size": 48}, r"fma.open_size is 48; allowed: divisors of group_size \(64\)"),
        ({**SELECT, "open_size": 0}, "fma.open_size is 0; allowed: 1 to 64"),
        ({"qk_norm": 1}, "qk_norm is 1; allowed: bool"),
        ({"rope_factors": [1.0] * 31}, r"rope_factors is \[.*; allowed: 32 numbers above 0 \(head_dim / 2\)"),
        ({"rope_factors": [1.0] * 31 + [0]}, "rope_factors is .*; allowed: 32 numbers above 0"),
        ({"rope_factors": [1.0] * 31 + [float("nan")]}, "rope_factors is .*; allowed: 32 numbers above 0"),
        ({"rope_factors": [True] * 32}, r"rope_factors is .*; allowed: list\[float\]"),
        ({"rope_attention_factor": 0}, "rope_attention_factor is 0; allowed: a number above 0"),
        ({"layers_without_rope": [6]}, r"layers_without_rope is \[6\]; allowed: layers from 0 to 5 in ascending order"),
        ({"layers_without_rope": [1, 1]}, r"layers_without_rope is \[1, 1\]; allowed: "),
        ({"layers_without_rope": [1.0]}, r"layers_without_rope is \[1.0\]; allowed: list\[int\]"),
        ({**UNROTATED, "layers_without_rope": [1]}, r"layers_without_rope is \[1\]; allowed: with rope only"),
        ({**UNROTATED, "rope_attention_factor": 2.0}, "rope_attention_factor is 2.0; allowed: with rope only"),
    ],
)
def test_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FmaConfig.from_dict(changed(**changes))


def test_missing_key() -> None:
    with pytest.raises(ConfigError, match="head_dim is missing"):
        FmaConfig.from_dict({name: value for name, value in GOOD.items() if name != "head_dim"})
