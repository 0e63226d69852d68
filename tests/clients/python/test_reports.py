"""What the server says of calls that their client gave a deadline."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from fma_client import NO_RETRY, Client, DeadlineExceededError
from fma_client._requests import export
from programs import DEMO_MODEL, GOLDEN
from service import Service, eventually


def codes(server: Service, method: str) -> list[str]:
    return re.findall(rf" method={re.escape(method)} .*? code=(\w+) ", server.log())


def test_a_deadline_that_passed_is_not_a_cancellation() -> None:
    with Service("--threads", 1, "--rewind-points", 60) as server, Client(server.address, retry=NO_RETRY) as client:
        with pytest.raises(DeadlineExceededError):
            client.generate("endless", max_tokens=10**8, ignore_eos=True, timeout=0.3).read()
        assert eventually(lambda: codes(server, "Generate") == ["DEADLINE_EXCEEDED"])
        with client.create_session("talk") as talk:
            talk.generate([7] * 61, max_tokens=1, marks=range(1, 61)).read()
            # Nobody reads the stream, which holds 60 states: more than the connection does.
            stalled = client._calls.start("Export", export("talk", False), timeout=1)
            assert eventually(lambda: codes(server, "Sessions.Export") == ["DEADLINE_EXCEEDED"])
            stalled.cancel()
        assert server.sum("fma_requests_cancelled_total") == 1
        series = server.scrape()
        for method in ("Generate", "Sessions.Export"):
            assert series[f'fma_calls_total{{code="DEADLINE_EXCEEDED",method="{method}"}}'] == 1


def test_an_answer_that_comes_too_late_is_a_deadline_too(tmp_path: Path) -> None:
    admins = tmp_path / "admins"
    admins.write_text(f"root {hashlib.sha256(b'secret').hexdigest()}\n")
    flags = ("--threads", 1, "--model", f"small={GOLDEN / 'average'}", "--admin-token-file", admins)
    with (
        Service(*flags) as server,
        Client(server.address) as client,
        Client(server.address, token="secret", retry=NO_RETRY) as admin,
        client.generate("endless", max_tokens=10**8, ignore_eos=True) as endless,
    ):
        next(endless)
        with pytest.raises(DeadlineExceededError):
            admin.unload_model(DEMO_MODEL.name, grace_seconds=2, timeout=0.3)
        assert eventually(lambda: codes(server, "Admin.UnloadModel") == ["DEADLINE_EXCEEDED"])
