"""vLLM's router, unmodified, with two workers of this server: OpenAI's API in front, token ids behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from programs import DEMO_MODEL, free_port, hugging_face_folder
from service import Service, eventually

MODEL = DEMO_MODEL.name


@pytest.fixture(scope="module")
def workers() -> Iterator[list[Service]]:
    flags = ("--slots", 4, "--threads", 1)
    with Service(*flags) as first, Service(*flags) as second:
        yield [first, second]
        assert first.stop() == second.stop() == 0


class Router:
    def __init__(self, port: int):
        self._base = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> int:
        try:
            with urllib.request.urlopen(self._base + path, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def chat(self, text: str, **fields: object) -> tuple[int, str]:
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}
        request = urllib.request.Request(
            self._base + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@contextmanager
def start_router(tokenizer: Path, *workers: str) -> Iterator[Router]:
    port = free_port()
    command = [str(Path(sys.executable).parent / "vllm-router"), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--prometheus-port", str(free_port()), "--policy", "round_robin", "--worker-urls", *workers]
    with tempfile.NamedTemporaryFile("r+", suffix=".log") as log:
        environment = {**os.environ, "VLLM_ROUTER_TOKENIZER": str(tokenizer)}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            router = Router(port)
            assert eventually(lambda: router.get("/health") == 200 or process.poll() is not None)
            assert process.poll() is None, Path(log.name).read_text()
            yield router
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="module")
def router(workers: list[Service], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    folder = hugging_face_folder(tmp_path_factory.mktemp("router") / "tokenizer")
    with start_router(folder, *(f"grpc://{worker.address}" for worker in workers)) as found:
        yield found


OPTIONS = {"max_tokens": 20, "seed": 7, "temperature": 1.0}


@pytest.fixture(scope="module")
def expected(workers: list[Service]) -> str:
    return workers[0].run("generate", "It was a dark", "--max-tokens", 20, "--seed", 7)[1].rstrip("\n")


def test_the_workers_are_alive(router: Router) -> None:
    assert router.get("/health") == 200
    assert router.get("/v1/models") == 200


def test_a_chat_is_the_native_apis_text(router: Router, workers: list[Service], expected: str) -> None:
    for _ in workers:
        status, body = router.chat("It was a dark", **OPTIONS)
        assert status == 200, body
        answer = json.loads(body)
        assert answer["choices"][0]["message"]["content"].strip() == expected.strip()
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"]["completion_tokens"] == 20
    for worker in workers:
        assert "method=Vllm.GenerateStream" in worker.log(), "each had one"


def test_a_streamed_chat(router: Router, expected: str) -> None:
    status, body = router.chat("It was a dark", stream=True, stream_options={"include_usage": True}, **OPTIONS)
    assert status == 200, body
    data = re.findall(r"^data: (.*)$", body, re.M)
    assert data[-1] == "[DONE]"
    chunks = [json.loads(datum) for datum in data[:-1]]
    text = "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])
    assert text.strip() == expected.strip()
    assert chunks[-1]["usage"]["completion_tokens"] == 20


def test_stop_strings_are_cut_by_the_server(router: Router, expected: str) -> None:
    word = expected.split()[3]
    status, body = router.chat("It was a dark", stop=[word], **OPTIONS)
    assert status == 200, body
    answer = json.loads(body)
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert word not in answer["choices"][0]["message"]["content"]


def test_refusals_come_through(router: Router) -> None:
    status, body = router.chat("x", response_format={"type": "json_object"})
    assert status == 400 and "decoding.json_object is set" in body
    status, body = router.chat("x", **{**OPTIONS, "top_p": 2})
    assert status == 400, body


def test_a_worker_that_drains_gets_nothing_more(tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path / "tokenizer")
    with Service("--slots", 1) as worker, start_router(folder, f"grpc://{worker.address}") as router:
        assert router.chat("It was", **OPTIONS)[0] == 200
        assert worker.stop() == 0
        assert eventually(lambda: router.chat("It was", **OPTIONS)[0] in (502, 503))
