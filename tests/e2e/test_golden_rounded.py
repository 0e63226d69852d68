"""Every golden decoder in fewer bits, through fma-eval: within the bounds that docs/quality.md states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import GOLDEN, ROOT
from test_golden import CASES, evaluate, log_softmax

# As the table's columns.
WAYS = {
    "int8": ("--weights", "int8"),
    "int4": ("--weights", "int4"),
    "bf16-cache": ("--cache-dtype", "bf16"),
    "int8-cache": ("--cache-dtype", "int8"),
}


def stated_bounds() -> dict[tuple[str, str], list[float]]:
    """Of a case and a way: the largest and the mean difference, and the share of equal greedy choices."""
    section = (ROOT / "docs" / "quality.md").read_text("utf-8").split("\n## Golden cases in fewer bits\n")[1]
    bounds = {}
    for line in section.split("\n## ")[0].splitlines():
        case, *cells = (cell.strip(" `") for cell in line.strip("|").split("|"))
        if case in CASES:
            for way, cell in zip(WAYS, cells, strict=True):
                bounds[case, way] = [float(number) for number in cell.split()]
    return bounds


BOUNDS = stated_bounds()


def measures(case: str, logits: np.ndarray) -> tuple[float, float, float]:
    golden = log_softmax(np.load(GOLDEN / case / "logits.npy"))
    difference = np.abs(log_softmax(logits) - golden)
    same = logits.argmax(axis=-1) == golden.argmax(axis=-1)
    return float(difference.max()), float(difference.mean()), float(same.mean())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_differences_stay_within_their_bounds(case: str, way: str, tmp_path: Path) -> None:
    logits = evaluate(case, tmp_path / "logits.npy", "--mode", "decode", *WAYS[way])
    largest, mean, same = measures(case, logits)
    most, most_on_average, least_equal = BOUNDS[case, way]
    assert 1e-4 < largest <= most, "rounded, but not too far"
    assert mean <= most_on_average
    assert same >= least_equal
    if way.endswith("cache"):
        return
    for chunk in (5, 64):
        chunks = evaluate(case, tmp_path / "logits.npy", "--chunk", chunk, *WAYS[way])
        assert np.array_equal(logits, chunks), chunk
