"""PyPI's `vllm-router` and `sglang-router` before two servers, unchanged."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import free_port
from service import Service, eventually

ROUTERS = {
    "vllm-router": ("vllm-router",),
    "sglang-router": (sys.executable, "-m", "sglang_router.launch_router"),
}


def ask(port: int, path: str, body: object = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        text = None if body is None else json.dumps(body)
        connection.request("POST" if body else "GET", path, text, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def answers(port: int) -> bool:
    try:
        return ask(port, "/v1/models")[0] == 200
    except OSError:
        return False


@contextlib.contextmanager
def routed(words: tuple[str, ...], servers: list[Service]) -> Iterator[int]:
    """The port of a router before the servers."""
    port, metrics = free_port(), free_port()
    program = words[0] if words[0].startswith("/") else str(Path(sys.executable).with_name(words[0]))
    urls = [f"http://127.0.0.1:{server.openai_port}" for server in servers]
    flags = ["--host", "127.0.0.1", "--port", port, "--policy", "round_robin", "--prometheus-port", metrics]
    with tempfile.TemporaryFile() as log:
        command = [program, *words[1:], "--worker-urls", *urls, *flags]
        router = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)
        try:
            assert eventually(lambda: router.poll() is not None or answers(port)), "no answer"
            log.seek(0)
            assert router.poll() is None, log.read().decode()
            yield port
        finally:
            router.terminate()
            router.wait(timeout=60)


@pytest.mark.parametrize("name", ROUTERS)
def test_requests_go_to_both_servers(name: str) -> None:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(Service("--openai", "127.0.0.1:0")) for _ in range(2)]
        port = stack.enter_context(routed(ROUTERS[name], servers))
        request = {"model": "fma-books-11m", "prompt": "It was a dark", "max_tokens": 10, "seed": 7}
        wholes = []
        for _ in range(4):
            status, body = ask(port, "/v1/completions", request)
            assert status == 200, body
            wholes.append(json.loads(body)["choices"][0]["text"])
        status, body = ask(port, "/v1/completions", {**request, "stream": True})
        assert status == 200 and body.rstrip().endswith("data: [DONE]"), body
        events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
        assert {*wholes} == {"".join(event["choices"][0]["text"] for event in events)}
        for server in servers:
            assert server.sum(r'fma_calls_total\{.*"OpenAi.Completion".*\}') >= 1
        status, body = ask(port, "/v1/completions", {**request, "top_p": 2})
        assert status == 400 and "top_p" in body
