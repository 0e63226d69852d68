"""Servers for stock clients. scripts/stock-clients runs these tests, each file in a virtual environment of its client."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from programs import chat_model  # noqa: E402
from service import Service  # noqa: E402


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The demo model, with a chat template."""
    with Service("--openai", "127.0.0.1:0", model=chat_model(tmp_path_factory.mktemp("models") / "books")) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture(scope="session")
def url(server: Service) -> str:
    return f"http://127.0.0.1:{server.openai_port}"
