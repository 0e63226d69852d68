"""What an ordinary day does to a process: readers that leave, closed descriptors, signals at any moment."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from namespaces import as_process_one
from programs import BIN, DEMO_MODEL, GOLDEN, free_port, port_in
from service import Service, eventually
from test_http import write_large_model

SERVER = [str(BIN / "fma-server"), "--model", str(GOLDEN / "average"), "--listen", "127.0.0.1:0"]


def fma(*words: object, port: object) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "fma"), *(str(word) for word in words), "--server", f"127.0.0.1:{port}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_log_reader_that_goes_away_ends_nothing() -> None:
    with subprocess.Popen(SERVER, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = port_in(iter(server.stdout.readline, ""))
        server.stdout.close()
        started = time.monotonic()
        for _ in range(20):
            assert fma("models", port=port).returncode == 0
        assert time.monotonic() - started < 20
        server.terminate()
        assert server.wait(timeout=60) == 0


def test_a_log_on_a_full_disk_ends_nothing() -> None:
    port = free_port()
    with open("/dev/full", "w") as full, subprocess.Popen([*SERVER[:-1], f"127.0.0.1:{port}"], stdout=full) as server:
        try:
            assert eventually(lambda: fma("health", port=port).returncode == 0)
            for _ in range(20):
                assert fma("models", port=port).returncode == 0
        finally:
            server.terminate()
        assert server.wait(timeout=60) == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_the_server_runs_with_closed_descriptors(closed: str) -> None:
    port, http = free_port(), free_port()
    words = [*SERVER[:-1], f"127.0.0.1:{port}", "--http", f"127.0.0.1:{http}"]
    with subprocess.Popen(["sh", "-c", f'exec "$@" {closed}', "sh", *words]) as server:
        try:
            assert eventually(lambda: fma("health", port=port).returncode == 0)
            for _ in range(20):  # each is a line of the log, which must not go into a socket
                assert fma("models", port=port).returncode == 0
            with socket.create_connection(("127.0.0.1", http), timeout=20) as probe:
                probe.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = b"".join(iter(lambda: probe.recv(4096), b""))
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\nalive\n")
        finally:
            server.terminate()
        assert server.wait(timeout=60) == 0


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Loads for seconds."""
    folder = tmp_path_factory.mktemp("slow")
    write_large_model(folder, vocab=4 << 20)
    return folder


@contextmanager
def loading(model: Path, before: list[str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A server that loads `model`, as its probe says."""
    port = free_port()
    words = ["--listen", "127.0.0.1:0", "--http", f"127.0.0.1:{port}", "--slots", "1", "--step-tokens", "1"]
    command = [*(before or []), str(BIN / "fma-server"), "--model", str(model), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            assert eventually(lambda: connects(port))
            yield server
        finally:
            server.kill()


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    except OSError:
        return False


def end_of(server: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and log."""
    log, _ = server.communicate(timeout=60)
    return server.returncode, log


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_server_that_loads(slow_model: Path, ending: signal.Signals) -> None:
    with loading(slow_model) as server:
        server.send_signal(ending)
        code, log = end_of(server)
        assert code == 0, log
        # It would have listened at its end, had it gone on loading.
        assert f"{ending.name.removeprefix('SIG')} received before the server listened" in log
        assert "listening" not in log


def test_a_signal_ends_a_server_that_loads_one_more_model(tmp_path: Path) -> None:
    write_large_model(tmp_path, vocab=12 << 20)
    (tmp_path / "admins").write_text(f"root {hashlib.sha256(b'secret').hexdigest()}\n")
    flags = ("--admin-token-file", tmp_path / "admins", "--drain-seconds", 0, "--slots", 1, "--step-tokens", 1)
    with Service(*flags, model=GOLDEN / "average") as server:
        command = [BIN / "fma", "admin", "load", tmp_path, "--name", "large", "--server", server.address]
        admin = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "FMA_TOKEN": "secret"})
        maps = Path(f"/proc/{server.process.pid}/maps")
        assert eventually(lambda: "model.safetensors" in maps.read_text())
        server.signal(signal.SIGTERM)
        assert server.process.wait(timeout=60) == 0
        assert "a model still loads: the server ends without it" in server.log()
        assert admin.communicate(timeout=60)[1] and admin.returncode == 4


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_process_one_of_a_container_ends_while_it_loads(slow_model: Path) -> None:
    with loading(slow_model, as_process_one()) as container:
        (server,) = children(container.pid)
        os.kill(server, signal.SIGTERM)
        code, log = end_of(container)
        assert (code, "listening" in log) == (0, False), log


@contextmanager
def draining(before: Callable[[], list[str]]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server that drains for as long as its stream runs, and the process that is to get signals."""
    words = [str(BIN / "fma-server"), "--model", str(DEMO_MODEL), "--listen", "127.0.0.1:0", "--drain-seconds", "600"]
    prefix = before()
    with subprocess.Popen([*prefix, *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        port = port_in(lines)
        server = children(process.pid)[0] if prefix else process.pid
        command = [BIN / "fma", "generate", "Once", "--max-tokens", "1000000", "--ignore-eos", "--server"]
        stream = subprocess.Popen([*command, f"127.0.0.1:{port}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            assert stream.stdout is not None and stream.stdout.read(1)
            os.kill(server, signal.SIGTERM)
            assert any("draining" in line for line in lines)
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield process, server
        finally:
            stream.kill()
            stream.wait()
            process.kill()


def test_a_second_signal_ends_a_server_that_drains() -> None:
    with draining(lambda: []) as (process, server):
        os.kill(server, signal.SIGTERM)
        assert process.wait(timeout=20) == -signal.SIGTERM


def test_a_second_signal_ends_process_one_too() -> None:
    with draining(as_process_one) as (process, server):
        os.kill(server, signal.SIGINT)
        assert process.wait(timeout=20) == 128 + signal.SIGINT


def test_a_reader_that_has_stopped_holds_up_no_end() -> None:
    words = ("generate", "x", "--max-tokens", 1_000_000, "--ignore-eos")
    with Service("--drain-seconds", 0) as server, server.client(*words) as stream:
        assert stream.stdout is not None and stream.stdout.read(1)
        stream.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 20
        stream.kill()


def test_a_signal_after_loading_still_drains() -> None:
    with Service() as server:
        server.signal(signal.SIGTERM)
        assert server.process.wait(timeout=60) == 0
        assert "stopped" in server.log()
