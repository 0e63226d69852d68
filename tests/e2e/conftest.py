"""Servers and data for the end-to-end tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS.parent / "training")]

from programs import BIN, DEMO_MODEL, GOLDEN, ROOT, run, serve  # noqa: E402

__all__ = ["BIN", "DEMO_MODEL", "GOLDEN", "ROOT", "run", "serve"]


@pytest.fixture(scope="session")
def demo_server() -> Iterator[str]:
    """HOST:PORT of a server with the demo model."""
    with serve(DEMO_MODEL) as address:
        yield address
