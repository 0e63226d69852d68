"""Clients that misbehave: the server goes on, and gets back everything that they took."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import random
import re
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from service import Service, eventually

GENERATE = "/fma.v1.Generation/Generate"
MODEL = "/fma.v1.Generation/GetModel"
MEBIBYTE = 1 << 20


def open_files(server: Service) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def threads(server: Service) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/task").iterdir()))


def resident(server: Service) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return 1024 * int(found.group(1))


@contextlib.contextmanager
def flat(server: Service, mebibytes: int = 32) -> Iterator[None]:
    """Checks that the body leaves no descriptors, threads or slots behind, and no more memory."""
    files, tasks, memory = open_files(server), threads(server), resident(server)
    yield
    # gRPC gives up on a connection that has been silent for 10 s.
    assert eventually(lambda: open_files(server) <= files + 8), (open_files(server), files)
    # gRPC keeps some threads for a while, however many calls there were.
    assert eventually(lambda: threads(server) <= tasks + 16), (threads(server), tasks)
    assert eventually(lambda: server.sum("fma_slots_used") == 0)
    # The server checks every 10 s whether there is free memory to return to the system.
    assert eventually(lambda: resident(server) <= memory + mebibytes * MEBIBYTE), (resident(server), memory)
    code, _, errors = server.run("generate", "x", "--max-tokens", 3)
    assert code == 0, errors
    assert server.get("/readyz") == (200, "ready\n")


def garbage(rng: random.Random) -> bytes:
    """Noise, or the beginning of something that a server might understand."""
    noise = rng.randbytes(rng.randrange(200))
    http2, http1, tls = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /metrics HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01"
    return rng.choice((b"", b"\r\n", http2, http1, tls)) + noise


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def test_clients_killed_in_the_middle_of_a_stream() -> None:
    with Service("--slots", 4) as server:
        server.run("generate", "x", "--max-tokens", 3)
        with flat(server):
            for _ in range(25):
                words = ("generate", "x", "--max-tokens", 1_000_000, "--ignore-eos")
                clients = [server.client(*words) for _ in range(4)]
                for client in clients:
                    assert client.stdout is not None
                    client.stdout.read(1)  # the stream has begun
                    client.send_signal(signal.SIGKILL)
                    client.communicate()
        assert eventually(lambda: server.sum("fma_requests_cancelled_total") == 100)


@pytest.mark.parametrize("port", ["grpc_port", "http_port"])
def test_ten_thousand_connections_of_garbage(port: str) -> None:
    rng = random.Random(7)
    with Service() as server:

        def throw(bytes_sent: bytes, reset: bool) -> None:
            with contextlib.suppress(OSError), connect(getattr(server, port)) as client:
                client.sendall(bytes_sent)
                if reset:  # the kernel then sends RST in place of FIN
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        server.run("generate", "x", "--max-tokens", 3)
        with flat(server, mebibytes=96), concurrent.futures.ThreadPoolExecutor(8) as pool:
            for _ in range(10_000):
                pool.submit(throw, garbage(rng), rng.random() < 0.3)


def test_half_open_connections() -> None:
    with Service() as server:
        server.run("generate", "x", "--max-tokens", 3)
        with flat(server):
            silent = [connect(port) for port in (server.grpc_port, server.http_port) for _ in range(400)]
            for client in silent[::2]:
                client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[:13])
            # Nothing waits for them.
            assert server.get("/livez") == (200, "alive\n")
            assert server.run("models")[0] == 0
            # The server gives up on them; they never close.
            assert eventually(lambda: open_files(server) < 100)
            for client in silent:
                client.close()


def test_a_storm_of_scrapes() -> None:
    with Service() as server:
        server.run("generate", "x", "--max-tokens", 3)
        with flat(server), concurrent.futures.ThreadPoolExecutor(16) as pool:
            words = ("generate", "x", "--max-tokens", 400, "--ignore-eos")
            with server.client(*words) as client:
                for status, page in pool.map(lambda _: server.get("/metrics"), range(2_000)):
                    assert status == 200 and page.endswith("\n") and "fma_slots" in page
                client.communicate()
                assert client.returncode == 0


def test_a_flood_of_wrong_tokens(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice {hashlib.sha256(b'right').hexdigest()}\n")
    with Service("--tokens", tokens) as server, grpc.insecure_channel(server.address) as channel:
        model = channel.unary_unary(MODEL)

        def ask(token: str) -> grpc.StatusCode:
            try:
                model(b"", metadata=[("authorization", f"Bearer {token}")], timeout=60)
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        assert ask("right") == grpc.StatusCode.OK
        files, memory = open_files(server), resident(server)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(ask, (f"wrong{i}" for i in range(10_000))))
        assert set(codes) == {grpc.StatusCode.UNAUTHENTICATED}
        assert ask("right") == grpc.StatusCode.OK
        assert open_files(server) <= files + 8
        assert resident(server) <= memory + 32 * MEBIBYTE


def test_the_clock_jumps(tmp_path: Path) -> None:
    """Streams, deadlines, sessions and tenants' allowances depend only on how much time has passed."""
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    offset = tmp_path / "offset"
    offset.write_text("+0")
    fake = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice {hashlib.sha256(b'right').hexdigest()} tokens-per-minute=100000000\n")
    flags = ("--session-dir", tmp_path / "sessions", "--session-ttl", 3600, "--tokens", tokens)
    with Service(*flags, env={**fake, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}) as server:
        words = ("--token", "right")
        assert server.run("sessions", "create", "kept", *words)[0] == 0
        with server.client("generate", "x", "--max-tokens", 1_000_000, "--ignore-eos", *words) as stream:
            assert stream.stdout is not None
            for jump, year in (("+40y", r"20[67]\d"), ("-20y", r"20[01]\d"), ("+2h", r"20[2-5]\d")):
                offset.write_text(jump)
                turn = ("generate", "a", "--session", "kept", "--max-tokens", 3, "--time-limit", 60, *words)
                code, _, errors = server.run(*turn)
                assert code == 0, errors
                line = r"(?m)^" + year + r"-.* method=Generate .*code=OK seconds=[0-9.e-]+ "
                assert eventually(lambda line=line: re.search(line, server.log()) is not None), server.log()
                assert len(stream.stdout.read(100)) == 100
            assert stream.poll() is None
            stream.kill()
        assert server.stop() == 0


def test_pings_without_measure_end_the_connection() -> None:
    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload

    ping, settings = frame(6, 0, 0, bytes(8)), frame(4, 0, 0, b"")
    with Service() as server, connect(server.grpc_port) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + 10 * ping)
        received = b""
        while part := client.recv(65536):
            received += part
        assert b"too_many_pings" in received
        assert server.run("models")[0] == 0
