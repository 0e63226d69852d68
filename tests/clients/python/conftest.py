"""A server with the demo model and a chat template, and a client of it.

Runs in .venv (scripts/venv), with the package installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "support"))

from fma_client import Client
from programs import DEMO_MODEL, chat_model, serve


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(chat_model(tmp_path_factory.mktemp("models") / DEMO_MODEL.name), "--threads", 1) as found:
        yield found


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as made:
        yield made
