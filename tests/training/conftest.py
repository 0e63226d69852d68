"""Puts the training package on the path and makes small models and texts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "training"))

GOLDEN = ROOT / "tests" / "data" / "golden"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def prose() -> str:
    """English text of two documents with the odd character, each ended by NUL."""
    page = (ROOT / "training" / "README.md").read_text("utf-8")
    return page * 4 + "\r\n\tcafé — “naïve” 😀\n\n\n\0" + page + "\0"
