"""Puts the definition of tests/training beside the converter, and names the small models."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for folder in ("training", "tests/training"):  # NumPy alone: the configuration, and the definition token by token
    sys.path.insert(0, str(ROOT / folder))

PRETRAINED = ROOT / "tests" / "data" / "pretrained"
