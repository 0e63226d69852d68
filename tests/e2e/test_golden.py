"""Every golden case through fma-eval, in both modes and several chunkings."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import BIN, GOLDEN, run

CASES = sorted(path.name for path in GOLDEN.iterdir())


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def evaluate(case: str, out: Path, *options: object) -> np.ndarray:
    folder = GOLDEN / case
    run(BIN / "fma-eval", "--model", folder, "--token-ids", folder / "case.json", "--logits", out, *options)
    return np.load(out)


@pytest.mark.parametrize("options", [("--mode", "decode"), ("--mode", "prefill"), ("--chunk", 7)], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_logits_are_right(case: str, options: tuple[object, ...], tmp_path: Path) -> None:
    golden = np.load(GOLDEN / case / "logits.npy")
    logits = evaluate(case, tmp_path / "logits.npy", *options)
    assert logits.dtype == np.float32 and logits.shape == golden.shape
    assert np.abs(log_softmax(logits) - log_softmax(golden)).max() <= 1e-3


@pytest.mark.parametrize("case", CASES)
def test_every_way_of_feeding_gives_the_same_bits(case: str, tmp_path: Path) -> None:
    decoded = evaluate(case, tmp_path / "decode.npy", "--mode", "decode")
    for chunk in (1, 5, 64, 1000):
        assert np.array_equal(decoded, evaluate(case, tmp_path / "chunk.npy", "--chunk", chunk)), chunk


@pytest.mark.parametrize("context", [0, 7])
def test_losses_are_those_of_the_logits(context: int, tmp_path: Path) -> None:
    folder = GOLDEN / "modern_hierarchical"
    tokens = np.array(json.loads((folder / "case.json").read_text("utf-8"))["tokens"])
    losses = tmp_path / "losses.npy"
    logits = evaluate(folder.name, tmp_path / "logits.npy", "--losses", losses, "--context", context, "--chunk", 5)
    scored = [i for i in range(1, len(tokens)) if context == 0 or i % context]
    expected = -log_softmax(logits)[[i - 1 for i in scored], tokens[scored]]
    found = np.load(losses)
    assert found.dtype == np.float32 and found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5


@pytest.mark.parametrize(("archive", "bound"), [("bf16", 0.03), ("int8", 0.15)])
@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("select_open")])
def test_a_rounded_archive_stays_close(case: str, archive: str, bound: float, tmp_path: Path) -> None:
    """At nine of ten tokens; some of the others follow a choice that rounding has turned."""
    golden = log_softmax(np.load(GOLDEN / case / "logits.npy"))
    decoded = evaluate(case, tmp_path / "decode.npy", "--archive-dtype", archive, "--mode", "decode")
    difference = np.abs(log_softmax(decoded) - golden).max(axis=-1)
    group = json.loads((GOLDEN / case / "config.json").read_text("utf-8"))["fma"]["group_size"]
    assert difference[: 2 * group].max() <= 1e-3 < difference.max(), "nothing is opened before the third group"
    assert np.quantile(difference, 0.9) <= bound
    assert np.array_equal(decoded, evaluate(case, tmp_path / "prefill.npy", "--archive-dtype", archive))


def test_an_archive_has_no_larger_numbers_than_the_cache() -> None:
    folder = GOLDEN / "select_open"
    command = [BIN / "fma-eval", "--model", folder, "--token-ids", folder / "case.json"]
    command += ["--cache-dtype", "int8", "--archive-dtype", "bf16"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert 'archive dtype is "bf16"; allowed: as-is or int8 beside a cache in int8' in done.stderr
