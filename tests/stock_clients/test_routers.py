"""PyPI's `vllm-router` and `sglang-router` before two servers, unchanged; and PyPI's `openai` before the former."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from programs import ROOT, chat_model, free_port
from service import Service, eventually

EXAMPLE = ROOT / "docs" / "examples" / "resuming.py"
ROUTERS = {
    "vllm-router": ("vllm-router", "--policy", "round_robin"),
    "sglang-router": (sys.executable, "-m", "sglang_router.launch_router", "--policy", "round_robin"),
}
#: Programs of this virtual environment come first.
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


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
def routed(words: Sequence[object], servers: list[Service]) -> Iterator[int]:
    """The port of a router before the servers."""
    port, metrics = free_port(), free_port()
    urls = [f"http://127.0.0.1:{server.openai_port}" for server in servers]
    flags = ["--host", "127.0.0.1", "--port", port, "--prometheus-port", metrics]
    with tempfile.TemporaryFile() as log:
        command = [*words, "--worker-urls", *urls, *flags]
        router = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, env=ENVIRONMENT)
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


def test_the_example_goes_on_when_its_replica_is_killed(tmp_path: Path) -> None:
    model = chat_model(tmp_path / "books")
    questions = tmp_path / "questions"
    questions.write_text("It was a dark and stormy night\n" + "And then?\n" * 9)

    def start() -> Service:
        return Service("--openai", "127.0.0.1:0", "--session-dir", tmp_path / "sessions", model=model)

    with contextlib.ExitStack() as stack:

        def talk(port: int) -> subprocess.Popen[str]:
            command = [sys.executable, EXAMPLE, f"http://127.0.0.1:{port}/v1", "7"]
            with questions.open() as lines:
                talking = subprocess.Popen(command, stdin=lines, stdout=subprocess.PIPE, text=True)
            stack.callback(talking.kill)
            return talking

        servers = [stack.enter_context(start()) for _ in range(2)]
        undisturbed = talk(servers[0].openai_port)
        expected, _ = undisturbed.communicate(timeout=120)
        port = stack.enter_context(routed((ROOT / "deploy" / "vllm-router" / "run",), servers))
        talking = talk(port)
        busy: list[Service] = []
        assert eventually(lambda: busy.extend(s for s in servers if s.sum("fma_requests_running") > 0) or bool(busy))
        busy[0].signal(signal.SIGKILL)
        output, _ = talking.communicate(timeout=120)
        assert output == expected and talking.returncode == 0
