"""The shapes of bench/quality: what each keeps of a text, seen in the losses of a small converted model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import PRETRAINED
from fma_convert.cli import main
from programs import BIN, run
from shapes import Shape, write_folder

SOURCE = PRETRAINED / "llama3"
VOCABULARY = json.loads((SOURCE / "config.json").read_text("utf-8"))["vocab_size"]
LAYERS = json.loads((SOURCE / "config.json").read_text("utf-8"))["num_hidden_layers"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    main([str(SOURCE), str(tmp_path / "model"), "--near", "16"])
    return tmp_path / "model"


def losses(model: Path, name: str, ids: list[int]) -> np.ndarray:
    folder = write_folder(model, Shape(name), len(ids), model.parent / name.replace("/", "-"))
    (folder / "ids.json").write_text(json.dumps(ids), "utf-8")
    out = folder / "losses.npy"
    run(BIN / "fma-eval", "--model", folder, "--token-ids", folder / "ids.json", "--losses", out)
    return np.load(out)


def test_full_is_the_original(model: Path) -> None:
    ids = json.loads((SOURCE / "tokens.json").read_text("utf-8"))
    logits = np.load(SOURCE / "logits.npy").astype(np.float64)
    expected = np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(len(ids)), [*ids[1:], 0]]
    assert np.abs(losses(model, "full", ids) - expected[:-1]).max() < 1e-4


def test_a_window_sees_nothing_behind_it(model: Path) -> None:
    """A token is seen through a window in every layer, so for as many windows; what was selected stays longer."""
    entries, changed = 20, 6
    ids = [int(i) for i in np.random.default_rng(1).integers(3, VOCABULARY, 400)]
    other = [*ids[:changed], (ids[changed] + 1) % VOCABULARY, *ids[changed + 1 :]]
    end = changed + LAYERS * entries
    for name, same in ((f"window:{entries}", True), ("8/4", False)):
        before, after = losses(model, name, ids), losses(model, name, other)
        assert not np.array_equal(before[:end], after[:end])
        assert np.array_equal(before[end:], after[end:]) == same, name


def test_what_is_said_of_a_selection(model: Path) -> None:
    folder = write_folder(model, Shape("256/32,novel=8,distance=3072"), 8192, model.parent / "shape")
    fma = json.loads((folder / "config.json").read_text("utf-8"))["fma"]
    chosen = (fma["group_size"], fma["rank"], fma["select_novel"], fma["max_distance"], fma["num_levels"])
    assert chosen == (256, 32, 8, 3072, 4)  # level 4 sees 4 * 256 * 2^3 tokens
    with pytest.raises(ValueError, match="allowed: up to 16384"):
        Shape("full").fma(16385, 8192)
