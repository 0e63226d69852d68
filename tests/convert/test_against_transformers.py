"""Converted models against the logits of the original library (tests/data/pretrained/make_models.py): with a near field
longer than the text, Fast Multipole Attention is full attention."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import PRETRAINED
from floats import read_floats
from fma_convert.cli import main
from fma_training.config import FmaConfig
from make_golden import CASES, SHAPE
from reference_select import SelectReference

MODELS = sorted(folder for folder in PRETRAINED.iterdir() if (folder / "config.json").is_file())


def logits(folder: Path, tokens: list[int]) -> np.ndarray:
    """Of a converted folder, by the definition in float64."""
    return SelectReference(FmaConfig.load(folder), read_floats(folder / "model.safetensors")).logits(tokens)


@pytest.mark.parametrize("source", MODELS, ids=lambda folder: folder.name)
def test_logits(source: Path, tmp_path: Path) -> None:
    main([str(source), str(tmp_path / "out"), "--near", "20", "--max-distance", "80"])
    tokens = json.loads((source / "tokens.json").read_text("utf-8"))
    assert len(tokens) == 40  # two near groups
    expected = np.load(source / "logits.npy")
    assert np.abs(expected).max() > 1
    assert np.abs(logits(tmp_path / "out", tokens) - expected).max() < 1e-4


@pytest.mark.parametrize("name", CASES)
def test_golden_cases_are_of_these_models(name: str, tmp_path: Path) -> None:
    """What other implementations are held to (tests/data/golden) is what the converter makes today."""
    main([str(PRETRAINED / name), str(tmp_path / "out"), *SHAPE, *CASES[name]])
    golden = PRETRAINED.parent / "golden" / f"pretrained_{name}"
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "out" / file).read_bytes() == (golden / file).read_bytes()
