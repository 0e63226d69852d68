"""Servers for stock clients: scripts/stock-clients runs each file of tests in a virtual environment of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from encoders import byte_encoder
from programs import chat_model
from service import Service


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The demo model, with a chat template."""
    with Service("--openai", "127.0.0.1:0", model=chat_model(tmp_path_factory.mktemp("models") / "books")) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture(scope="session")
def url(server: Service) -> str:
    return f"http://127.0.0.1:{server.openai_port}"


@pytest.fixture(scope="session")
def encoder_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A model that reads bytes and gives vectors."""
    folder = byte_encoder(tmp_path_factory.mktemp("models") / "reader")
    with Service("--openai", "127.0.0.1:0", model=folder) as running:
        yield f"http://127.0.0.1:{running.openai_port}"


@pytest.fixture(scope="session")
def brief_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same model with every seventh token as an end, so that its answers end soon."""
    folder = chat_model(tmp_path_factory.mktemp("models") / "books")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": list(range(3, 4096, 7))}))
    with Service("--openai", "127.0.0.1:0", model=folder) as running:
        yield f"http://127.0.0.1:{running.openai_port}"
