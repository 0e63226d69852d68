"""Responses of the real server: ids that outlive it, what a long conversation costs, a restart in the middle."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import chat_model
from service import Service

OPENAI = ("--openai", "127.0.0.1:0")
ASK = {"max_output_tokens": 16, "seed": 7, "ignore_eos": True}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_model(tmp_path_factory.mktemp("models") / "talker")


def ask(server: Service, method: str, path: str = "", body: object = None) -> tuple[int, Any]:
    """The status, and the JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", server.openai_port, timeout=60)
    try:
        connection.request(method, f"/v1/responses{path}", None if body is None else json.dumps(body))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def respond(server: Service, text: str, previous: str | None = None, **more: object) -> Any:
    status, body = ask(server, "POST", body={**ASK, "input": text, "previous_response_id": previous, **more})
    assert status == 200, body
    return body


def text_of(response: Any) -> str:
    return str(response["output"][0]["content"][0]["text"])


def read_tokens(response: Any) -> int:
    """What the model had to read: the rest was in the kept state."""
    usage = response["usage"]
    return int(usage["input_tokens"] - usage["input_tokens_details"]["cached_tokens"])


def test_ids_outlive_the_server(model: Path, tmp_path: Path) -> None:
    flags = (*OPENAI, "--session-dir", tmp_path / "sessions")
    with Service(*flags, model=model) as server:
        first = respond(server, "It was a dark", metadata={"who": "me"})
        second = respond(server, "And then", first["id"])
        gone = respond(server, "And then", first["id"])
        assert ask(server, "DELETE", f"/{gone['id']}")[1]["deleted"] is True
        server.signal(signal.SIGKILL)  # whatever was answered is safe
        server.process.wait()
    with Service(*flags, model=model) as server:
        assert ask(server, "GET", f"/{first['id']}") == (200, first)
        again = respond(server, "And then", first["id"])
        assert text_of(again) == text_of(second) and again["usage"] == second["usage"]
        assert text_of(respond(server, "At last", second["id"]))
        for method, path, body in (
            ("GET", f"/{gone['id']}", None),
            ("DELETE", f"/{gone['id']}", None),
            ("POST", "", {**ASK, "input": "x", "previous_response_id": gone["id"]}),
        ):
            status, error = ask(server, method, path, body)
            assert status == 404 and gone["id"] in error["error"]["message"]
        assert server.stop() == 0


def test_without_a_directory_ids_end_with_the_server(model: Path) -> None:
    with Service(*OPENAI, model=model) as server:
        first = respond(server, "It was a dark")
    with Service(*OPENAI, model=model) as server:
        assert ask(server, "GET", f"/{first['id']}")[0] == 404


def test_ids_expire_as_sessions_do(model: Path) -> None:
    with Service(*OPENAI, "--session-ttl", 1e-6, model=model) as server:
        first = respond(server, "It was a dark")
        follow = {**ASK, "input": "x", "previous_response_id": first["id"]}
        assert ask(server, "POST", body=follow)[0] == 404
        assert ask(server, "GET", f"/{first['id']}")[0] == 404


def test_a_shutdown_leaves_no_half_response(model: Path, tmp_path: Path) -> None:
    flags = (*OPENAI, "--session-dir", tmp_path / "sessions", "--drain-seconds", 0)
    with Service(*flags, model=model) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.openai_port, timeout=60)
        body = {**ASK, "input": "Once", "max_output_tokens": 1_000_000, "stream": True}
        connection.request("POST", "/v1/responses", json.dumps(body))
        events = events_of(connection.getresponse())
        created = next(events)
        server.signal(signal.SIGTERM)
        last = [created, *events][-1]
        assert last["type"] == "response.failed" and "shuts down" in last["response"]["error"]["message"]
        assert server.process.wait(timeout=60) == 0
    assert not list((tmp_path / "sessions").rglob("*.session"))
    with Service(*flags, model=model) as server:
        assert ask(server, "GET", f"/{created['response']['id']}")[0] == 404


def events_of(answer: http.client.HTTPResponse) -> Iterator[Any]:
    for line in answer:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


class Cost:
    """What a server has used so far."""

    def __init__(self, server: Service) -> None:
        process = Path("/proc") / str(server.process.pid)
        io = dict(line.split(": ") for line in (process / "io").read_text().splitlines())
        self.written = int(io["wchar"])
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        self.seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("turns", [200])
def test_a_turn_costs_what_the_second_cost(
    model: Path, tmp_path: Path, turns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (*OPENAI, "--session-dir", tmp_path / "sessions")
    with Service(*flags, model=model) as server:
        last = respond(server, "It was a dark and stormy night.", instructions="Be brief.")
        read, written, seconds = [], [], []
        for _ in range(1, turns):
            before = Cost(server)
            last = respond(server, "And what happened then?", last["id"], instructions="Be brief.")
            after = Cost(server)
            read.append(read_tokens(last))
            written.append(after.written - before.written)
            seconds.append(after.seconds - before.seconds)
        files = sum(1 for _ in (tmp_path / "sessions").rglob("*.state"))
    with capsys.disabled():
        late = sum(seconds[-10:]) / 10
        print(
            f"\nturn 2 / turn {turns}: tokens read {read[0]} / {read[-1]}, bytes written {written[0]} / {written[-1]}, "
            f"processor seconds {sum(seconds[:10]) / 10:.3f} / {late:.3f} (means of ten), "
            f"tokens before it {last['usage']['input_tokens']}"
        )
    assert set(read) == {read[0]}
    assert files == turns
    # The log of tokens is written with each turn: 4 bytes a token, up to --session-log-tokens.
    log = 4 * last["usage"]["total_tokens"]
    assert written[-1] <= written[0] + log + 2000
