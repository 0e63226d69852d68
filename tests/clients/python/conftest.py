"""A server with the demo model and a client of it. Runs in .venv (scripts/venv), with the package installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "support"))

from fma_client import Client
from programs import DEMO_MODEL, serve


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    with serve(DEMO_MODEL, "--threads", 1) as found:
        yield found


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as made:
        yield made
