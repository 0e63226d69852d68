"""The OpenAI door of the real server: TLS, tokens, limits, drain, metrics and the log."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import DEMO_MODEL, chat_model
from renewals import Files
from service import Service, eventually

OPENAI = ("--openai", "127.0.0.1:0")
ENDLESS = {"prompt": "Once", "max_tokens": 1_000_000, "ignore_eos": True, "stream": True}


@contextlib.contextmanager
def connected(server: Service, **tls: Any) -> Iterator[http.client.HTTPConnection]:
    kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
    connection = kind("127.0.0.1", server.openai_port, timeout=60, **tls)
    try:
        yield connection
    finally:
        connection.close()


def ask(
    connection: http.client.HTTPConnection, path: str, body: object = None, token: str | None = None
) -> tuple[http.client.HTTPResponse, Any]:
    """The answer, and the JSON in it."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    text = None if body is None else json.dumps(body)
    connection.request("GET" if text is None else "POST", path, text, headers)
    answer = connection.getresponse()
    return answer, json.loads(answer.read())


def events(answer: http.client.HTTPResponse) -> Iterator[Any]:
    """The data of a stream, as they come; the last must be [DONE]."""
    for line in answer:
        if line.startswith(b"data: "):
            if line == b"data: [DONE]\n":
                return
            yield json.loads(line[6:])
    pytest.fail("the stream has no end")


@pytest.fixture(scope="module")
def server() -> Iterator[Service]:
    with Service(*OPENAI) as running:
        yield running
        assert running.stop() == 0


def test_a_completion_is_what_the_grpc_door_answers(server: Service) -> None:
    words = ("generate", "It was a dark", "--max-tokens", 30, "--temperature", 0, "--json")
    lines = [json.loads(line) for line in server.run(*words)[1].splitlines()]
    text = "".join(line["text"] for line in lines if line["event"] in ("delta", "finished"))
    request = {"prompt": "It was a dark", "max_tokens": 30, "temperature": 0}
    with connected(server) as connection:
        answer, whole = ask(connection, "/v1/completions", request)
        assert answer.status == 200
        assert text and whole["choices"][0]["text"] == text
        connection.request("POST", "/v1/completions", json.dumps({**request, "stream": True}))
        streamed = "".join(event["choices"][0]["text"] for event in events(connection.getresponse()))
    assert streamed == text


def test_models_health_and_version(server: Service) -> None:
    with connected(server) as connection:
        assert ask(connection, "/v1/models")[1]["data"][0]["id"] == DEMO_MODEL.name
        assert ask(connection, "/health")[0].status == 200
        assert ask(connection, "/version")[1]["version"]
        answer, body = ask(connection, "/v1/embeddings", {"input": "x"})
        assert answer.status == 400 and "is a decoder; allowed: an encoder" in body["error"]["message"]


def test_calls_are_counted_and_logged(server: Service) -> None:
    with connected(server) as connection:
        connection.request("GET", "/v1/models", headers={"x-request-id": "find-me"})
        answer = connection.getresponse()
        assert answer.getheader("x-request-id") == "find-me"
        answer.read()
    assert eventually(lambda: server.sum('fma_calls_total\\{.*OpenAi.Models.*\\}') >= 1)
    assert eventually(lambda: "find-me" in server.log())


def test_whoever_has_no_token_is_refused(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"someone {hashlib.sha256(b'secret').hexdigest()}\n")
    with Service(*OPENAI, "--tokens", tokens) as guarded, connected(guarded) as connection:
        for token in (None, "", "wrong"):
            answer, body = ask(connection, "/v1/completions", {"prompt": "x"}, token)
            assert answer.status == 401
            assert body["error"]["type"] == "authentication_error"
        assert ask(connection, "/v1/completions", {"prompt": "x"}, "secret")[0].status == 200
        assert ask(connection, "/v1/models", token="secret")[0].status == 200
        assert ask(connection, "/health")[0].status == 200
        assert "secret" not in guarded.log()


def test_tls_with_a_certificate_that_is_renewed(tmp_path: Path) -> None:
    files = Files(tmp_path)
    context = ssl.create_default_context(cafile=str(files.authority.cert))
    context.check_hostname = False

    def shown(server: Service) -> bytes:
        return ssl.get_server_certificate(("127.0.0.1", server.openai_port), timeout=20).encode()

    with Service(*OPENAI, *files.flags) as server, connected(server, context=context) as connection:
        assert ask(connection, "/v1/completions", {"prompt": "x", "max_tokens": 2})[0].status == 200
        assert shown(server) in files.old.cert.read_bytes()
        files.put(files.new)
        assert eventually(lambda: "is renewed" in server.log())
        assert shown(server) in files.new.cert.read_bytes()
        # A connection outlives the certificate that it was greeted with.
        assert ask(connection, "/v1/models")[0].status == 200
        connection.request("POST", "/v1/completions", json.dumps({**ENDLESS, "max_tokens": 50}))
        assert len(list(events(connection.getresponse()))) > 1
        assert server.stop() == 0


def test_a_running_stream_gets_its_time_while_draining() -> None:
    answers = []
    with Service(*OPENAI, "--drain-seconds", 4) as server:
        with connected(server) as stream, connected(server) as other:

            def refused() -> bool:
                answers.append(ask(other, "/v1/completions", {"prompt": "x", "max_tokens": 1}))
                return answers[-1][0].status == 503

            stream.request("POST", "/v1/completions", json.dumps(ENDLESS))
            answer = stream.getresponse()
            running = events(answer)
            next(running)
            assert ask(other, "/health")[0].status == 200
            server.signal(signal.SIGTERM)
            assert eventually(lambda: "draining" in server.log())
            assert eventually(refused)
            assert answers[-1][1]["error"]["type"] == "overloaded_error"
            assert ask(other, "/health")[0].status == 503
            assert "error" in list(running)[-1]
        assert server.process.wait(timeout=60) == 0


def test_both_doors_share_the_limits_of_connections() -> None:
    limits = ("--max-connections", 2, "--max-connections-per-address", 2)
    with Service(*OPENAI, *limits) as server:
        with connected(server) as first, connected(server) as second:
            for connection in (first, second):
                assert ask(connection, "/health")[0].status == 200
            assert server.get("/readyz") == (429, "overloaded\n")
            with connected(server) as late, pytest.raises((ConnectionError, http.client.BadStatusLine)):
                ask(late, "/health")
        assert eventually(lambda: server.get("/readyz")[0] == 200)


def test_a_chat_is_what_the_grpc_door_answers(tmp_path: Path) -> None:
    with Service(*OPENAI, model=chat_model(tmp_path / "talker")) as server, connected(server) as connection:
        messages = [{"role": "user", "content": "It was a dark"}]
        request = {"messages": messages, "max_completion_tokens": 20, "temperature": 0}
        answer, whole = ask(connection, "/v1/chat/completions", request)
        assert answer.status == 200
        message = whole["choices"][0]["message"]
        assert message["role"] == "assistant" and message["content"]
        connection.request("POST", "/v1/chat/completions", json.dumps({**request, "stream": True}))
        deltas = [event["choices"][0]["delta"] for event in events(connection.getresponse())]
        assert deltas[0]["role"] == "assistant"
        assert "".join(delta.get("content", "") for delta in deltas) == message["content"]


def test_a_model_without_a_template_says_so(server: Service) -> None:
    with connected(server) as connection:
        answer, body = ask(
            connection, "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}
        )
        assert answer.status == 400 and "chat template" in body["error"]["message"]
