"""Connections within limits: who is over them, what becomes of idle ones, and descriptors that run out."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
from certificates import Authority
from http2 import Connection
from programs import BIN
from service import Service, eventually

UNREACHABLE = 4
MODEL = "/fma.v1.Generation/GetModel"
LONG = ("generate", "x", "--max-tokens", 1_000_000, "--ignore-eos")


def connect(server: Service, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.grpc_port), timeout=30, source_address=(source, 0))


def is_closed(client: socket.socket, seconds: float) -> bool:
    """Whether the server ends the connection in time; until then it may greet."""
    client.settimeout(seconds)
    try:
        while client.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


def set_file_limit(server: Service, files: int) -> None:
    subprocess.run(["prlimit", f"--pid={server.process.pid}", f"--nofile={files}:"], check=True)


def open_files(server: Service) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def refused(server: Service, reason: str) -> float:
    return server.scrape()[f'fma_connections_refused_total{{reason="{reason}"}}']


@contextlib.contextmanager
def held(clients: list[socket.socket]) -> Iterator[list[socket.socket]]:
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def test_more_idle_connections_than_descriptors_do_not_deafen_the_server() -> None:
    with Service(before=("prlimit", "--nofile=1024:1024")) as server:
        assert "up to 640, of one address up to 320" in server.log()
        with held([connect(server) for _ in range(1_100)]) as clients:
            assert eventually(lambda: refused(server, "address") == 780)
            assert all(is_closed(client, 30) for client in clients[320:])
            # Others have room, and so have the probes.
            with connect(server, source="127.0.0.2") as other:
                assert not is_closed(other, 0.5)
            assert server.get("/readyz") == (200, "ready\n")
        assert eventually(lambda: server.sum("fma_connections") == 0)
        assert server.run("models")[0] == 0


def test_it_hears_again_when_files_took_every_descriptor() -> None:
    with Service() as server:
        assert server.run("models")[0] == 0
        assert server.get("/livez")[0] == 200
        limit = int(server.sum("process_max_fds"))
        assert eventually(lambda: open_files(server) < 40)
        set_file_limit(server, 20)
        with held([connect(server) for _ in range(100)]) as clients:
            assert all(is_closed(client, 30) for client in clients)
        set_file_limit(server, limit)
        assert server.run("models")[0] == 0
        assert refused(server, "descriptors") >= 80


def test_the_soft_limit_of_files_is_raised() -> None:
    with Service(before=("prlimit", "--nofile=256:4096")) as server:
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        assert re.search(r"Max open files +4096 +4096", limits)
        assert "up to 3584, of one address up to 1792" in server.log()


def test_more_connections_than_files_are_refused_at_start() -> None:
    with Service("--max-connections", 700, before=("prlimit", "--nofile=1024:1024"), ready=False) as server:
        assert server.process.wait(timeout=60) == 1
        assert "max-connections is 700; allowed: 1 to 640" in server.log()


def test_a_full_server_says_so_and_has_room_again() -> None:
    with Service("--max-connections", 3, "--max-connections-per-address", 3) as server:
        clients = [Connection(server.grpc_port) for _ in range(3)]
        assert eventually(lambda: server.sum("fma_connections") == 3)
        assert server.get("/readyz") == (429, "overloaded\n")
        with connect(server) as late:
            assert is_closed(late, 30)
        assert refused(server, "server") == 1
        clients.pop().socket.close()
        assert eventually(lambda: server.get("/readyz") == (200, "ready\n"))
        assert server.run("models")[0] == 0
        for client in clients:
            assert client.call(MODEL, b"") == 0
            client.socket.close()


def test_one_address_does_not_take_everything() -> None:
    with Service("--max-connections", 10, "--max-connections-per-address", 2) as server:
        with held([connect(server) for _ in range(2)]), connect(server) as third:
            assert is_closed(third, 30)
            assert server.run("models")[0] == UNREACHABLE
            with Connection(server.grpc_port, source="127.0.0.3") as other:
                assert other.call(MODEL, b"") == 0
        assert refused(server, "address") >= 2
        assert refused(server, "server") == 0


def test_a_connection_without_a_call_ends() -> None:
    with Service("--max-connection-idle", 1) as server, server.client(*LONG) as stream:
        with Connection(server.grpc_port) as idle:
            assert idle.is_closed(30)
        assert stream.stdout is not None
        assert len(stream.stdout.read(2_000)) == 2_000
        assert eventually(lambda: server.sum("fma_connections") == 1)
        stream.kill()


def test_a_client_whose_idle_connection_ended_connects_anew() -> None:
    with Service("--max-connection-idle", 1) as server, grpc.insecure_channel(server.address) as channel:
        for _ in range(3):
            assert channel.unary_unary(MODEL)(b"", timeout=30)
            assert eventually(lambda: server.sum("fma_connections") == 0)
        assert server.sum("fma_connections_accepted_total") == 3


def test_an_old_connection_is_left_for_a_new_one() -> None:
    with Service("--max-connection-age", 1) as server, server.client(*LONG) as stream:
        with grpc.insecure_channel(server.address) as channel:
            model = channel.unary_unary(MODEL)

            def has_a_third_connection() -> bool:
                model(b"", timeout=30)
                return server.sum("fma_connections_accepted_total") > 2

            assert eventually(has_a_third_connection)
        # What runs on an old one has all the time that it takes.
        assert stream.stdout is not None
        assert len(stream.stdout.read(2_000)) == 2_000
        stream.kill()


def test_the_grace_of_an_old_connection_ends() -> None:
    flags = ("--max-connection-age", 1, "--max-connection-age-grace", 1)
    with Service(*flags) as server, server.client(*LONG) as stream:
        assert stream.communicate(timeout=60)[1] != ""
        assert stream.returncode != 0
        assert eventually(lambda: server.sum("fma_slots_used") == 0)


def test_a_connection_is_told_how_many_calls_it_may_have() -> None:
    with Service("--max-streams", 3) as server, Connection(server.grpc_port) as client:
        assert client.call(MODEL, b"") == 0
        assert client.http.remote_settings.max_concurrent_streams == 3


def test_metadata_has_a_most() -> None:
    with Service() as server:

        def ask(size: int) -> grpc.StatusCode:
            with grpc.insecure_channel(server.address) as channel:
                try:
                    channel.unary_unary(MODEL)(b"", metadata=[("padding", size * "x")], timeout=30)
                except grpc.RpcError as error:
                    return error.code()
                return grpc.StatusCode.OK

        assert ask(15_000) == grpc.StatusCode.OK
        # Some connections end before their client has the refusal.
        assert {ask(17_000) for _ in range(20)} <= {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
        assert ask(15_000) == grpc.StatusCode.OK


def test_a_connection_takes_some_memory_and_no_more() -> None:
    count = 400
    with Service() as server, contextlib.ExitStack() as clients:
        assert server.run("models")[0] == 0
        before = server.sum("process_resident_memory_bytes")
        for _ in range(count):
            client = clients.enter_context(Connection(server.grpc_port))
            assert client.call(MODEL, b"") == 0
        assert server.sum("fma_connections") == count
        assert server.sum("process_resident_memory_bytes") < before + count * 40 * 1024


def test_a_client_that_fell_silent_frees_its_slot() -> None:
    endless = b"\n\x01x" + b"\x20\xc0\x84\x3d\x28\x01"  # text "x", max_tokens 1,000,000, ignore_eos
    with Service("--max-stall-seconds", 600) as server, Connection(server.grpc_port) as client:
        client.begin("/fma.v1.Generation/Generate", endless)
        assert eventually(lambda: server.sum("fma_slots_used") == 1)
        assert eventually(lambda: server.sum("fma_slots_used") == 0, 55)


def test_a_handshake_that_never_ends_is_ended(tmp_path: Path) -> None:
    pair = Authority.create(tmp_path / "ca").issue("server")
    with Service("--tls-cert", pair.cert, "--tls-key", pair.key) as server:
        half = ssl.MemoryBIO()
        context = ssl.create_default_context()
        hello = context.wrap_bio(ssl.MemoryBIO(), half, server_hostname="server")
        with contextlib.suppress(ssl.SSLWantReadError):
            hello.do_handshake()
        with connect(server) as silent, connect(server) as slow:
            slow.sendall(half.read()[:50])
            assert is_closed(silent, 30) and is_closed(slow, 30)
        assert eventually(lambda: server.sum("fma_connections") == 0)


def test_every_kind_of_address_is_served(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    for listen, hosts in (
        ("0.0.0.0:0", ("127.0.0.1:{}", "[::1]:{}")),
        ("[::]:0", ("127.0.0.1:{}", "[::1]:{}")),
        ("[::1]:0", ("[::1]:{}",)),
        ("localhost:0", ("localhost:{}",)),
        (f"unix:{path}", (f"unix:{path}",)),
        ("unix-abstract:fma-test-connections", ("unix-abstract:fma-test-connections",)),
    ):
        with Service(listen=listen) as server:
            for host in hosts:
                command = [BIN / "fma", "models", "--server", host.format(server.grpc_port)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                assert done.returncode == 0, (listen, host, done.stderr)
            assert server.stop() == 0
    assert not path.exists()
