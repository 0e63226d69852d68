#!/usr/bin/python3
"""A server among strangers and troubles for a while, and what must hold afterwards.

    bench/soak/soak.py --seconds 60 --seed 7

Well-behaved clients make random calls of every kind, while others send garbage, vanish, read slowly or send bombs,
and while descriptors run out, certificates are renewed wrongly, the disk fills up and the process stands still. Then:
every stream that had begun came to its end, every session that was acknowledged is there, those said to be durable
also after a restart, health answers within 50 ms, and memory and descriptors are back. The exit code says so.

Needs root for a small file system of its own, and the built programs. Threads take their turns as they come: the same
seed gives the same calls, not the same order.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path[:0] = [str(TESTS / "support")]

import grpc  # noqa: E402
from callers import Caller, Kept  # noqa: E402
from record import Record  # noqa: E402
from service import eventually  # noqa: E402
from strangers import Stranger  # noqa: E402
from troubles import Troubles  # noqa: E402

from server import CACHES, MEBIBYTE, SLOT_BYTES, SLOTS, Server, code_of, make_stubs, metadata, small_disk  # noqa: E402

HEALTH = "/grpc.health.v1.Health/Check"


def health_seconds(server: Server) -> float:
    """Seconds of a health check on an open connection; the median of some."""
    with server.channel() as channel:
        check = channel.unary_unary(HEALTH)
        seconds = []
        for _ in range(20):
            start = time.monotonic()
            check(b"", timeout=30, wait_for_ready=True)
            seconds.append(time.monotonic() - start)
        return sorted(seconds)[len(seconds) // 2]


def check_sessions(server: Server, kept: Kept, record: Record, durable_only: bool) -> None:
    from fma.v1 import sessions_pb2, sessions_pb2_grpc

    with server.channel() as channel:
        sessions = sessions_pb2_grpc.SessionsStub(channel)
        for name, tokens in kept.tokens.items():
            if durable_only and not kept.durable[name]:
                continue
            try:
                request = sessions_pb2.GetSessionRequest(session_id=name)
                found = sessions.Get(request, metadata=metadata(), timeout=60, wait_for_ready=True).tokens
            except grpc.RpcError as error:
                record.fail(f"session {name} of {tokens} tokens: {code_of(error)}")
                continue
            # A turn whose answer was lost may have been kept.
            if found < tokens:
                record.fail(f"session {name} had {tokens} tokens and has {found}")


def check_afterwards(server: Server, record: Record, files: int, memory: int) -> None:
    if not eventually(lambda: server.service.get("/readyz") == (200, "ready\n")):
        record.fail(f"it is not ready: {server.service.get('/readyz')}")
    if (seconds := health_seconds(server)) > 0.05:
        record.fail(f"health takes {seconds * 1e3:.0f} ms")
    if not eventually(lambda: server.service.sum("fma_slots_used") == 0):
        record.fail("slots are still in use")
    if not eventually(lambda: server.open_files() <= files + 8):
        record.fail(f"{server.open_files()} descriptors are open; before there were {files}")
    # What slots and caches hold once they are used, and what the allocator keeps of storms.
    allowed = memory + SLOTS * SLOT_BYTES + sum(CACHES.values()) + 160 * MEBIBYTE
    if not eventually(lambda: server.resident() <= allowed):
        record.fail(f"it takes {server.resident() >> 20} MiB; allowed: {allowed >> 20} MiB")


def soak(server: Server, kept: Kept, record: Record, seconds: float, seed: int) -> None:
    stop = threading.Event()
    threads: list[threading.Thread] = [Troubles(server, record, seed, stop)]
    threads += [Caller(server, record, kept, f"caller {i}", seed, stop) for i in range(4)]
    threads += [Stranger(server, record, f"stranger {i}", seed, stop) for i in range(2)]
    for thread in threads:
        thread.start()
    stop.wait(seconds)
    stop.set()
    for thread in threads:
        thread.join()


def run(seconds: float, seed: int) -> Record:
    record, kept = Record(), Kept()
    with tempfile.TemporaryDirectory() as name, small_disk(Path(name) / "disk") as disk:
        folder = Path(name)
        make_stubs(folder)
        sys.path.insert(0, str(folder))
        server = Server(folder, disk)
        health_seconds(server)
        files, memory = server.open_files(), server.resident()
        soak(server, kept, record, seconds, seed)
        if server.service.process.poll() is not None:
            record.fail(f"the server ended with {server.service.process.returncode}:\n{server.service.log()[-3000:]}")
            return record
        check_afterwards(server, record, files, memory)
        check_sessions(server, kept, record, durable_only=False)
        if (code := server.service.stop()) != 0:
            record.fail(f"it stopped with exit code {code}")
        server.start()
        check_sessions(server, kept, record, durable_only=True)
        server.service.stop()
    return record


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    record = run(arguments.seconds, arguments.seed)
    for what, count in sorted(record.counts.items()):
        print(f"{count:8} {what}")
    for failure in record.failures[:20]:
        print(f"FAILED: {failure}")
    print(f"{len(record.failures)} failures, seed {arguments.seed}")
    return 1 if record.failures else 0


if __name__ == "__main__":
    sys.exit(main())
