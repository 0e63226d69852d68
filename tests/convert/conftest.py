"""Puts the definition of tests/training, the shapes of bench/quality and the built programs beside the converter."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# NumPy alone: the configuration, the definition token by token, what made the golden cases, and how programs are run.
for folder in ("training", "tests/training", "tests/data/pretrained", "tests/support", "bench/quality"):
    sys.path.insert(0, str(ROOT / folder))

PRETRAINED = ROOT / "tests" / "data" / "pretrained"
