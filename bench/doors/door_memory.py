#!/usr/bin/env python3
"""What connections of the OpenAI door take: the server's resident memory with many, less that without.

bench/doors/door_memory.py [MODEL]   after a build

Before, as many streams run as later, so that slots, caches and heap are what a busy server has anyway.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from programs import DEMO_MODEL
from service import Service, eventually

IDLE = 1000
STREAMING = 200
SECONDS = 20
BODY = json.dumps({"prompt": [5], "temperature": 0, "max_tokens": 10**6, "ignore_eos": True, "stream": True})


def connect(server: Service) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.openai_port, timeout=300)


@contextlib.contextmanager
def streaming(server: Service, count: int) -> Iterator[None]:
    """Streams that are read for a while."""
    connections = [connect(server) for _ in range(count)]
    for connection in connections:
        connection.request("POST", "/v1/completions", BODY)
    answers = [connection.getresponse() for connection in connections]
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        for answer in answers:
            assert answer.readline()
    yield
    for connection in connections:
        connection.close()


@contextlib.contextmanager
def idle(server: Service, count: int) -> Iterator[None]:
    """Connections that have had one answer."""
    connections = [connect(server) for _ in range(count)]
    for connection in connections:
        connection.request("GET", "/health")
        assert connection.getresponse().read() == b"{}"
    yield
    for connection in connections:
        connection.close()


def resident_mib(server: Service) -> float:
    return server.scrape()["process_resident_memory_bytes"] / 2**20


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else DEMO_MODEL
    flags = ("--openai", "127.0.0.1:0", "--threads", 1, "--slots", STREAMING, "--max-connections-per-address", 4096)
    with Service(*flags, model=model) as server:
        print(f"at the start: {resident_mib(server):.0f} MiB", flush=True)
        with streaming(server, STREAMING):
            pass
        assert eventually(lambda: server.sum("fma_slots_used") == 0)
        before = resident_mib(server)
        print(f"after {STREAMING} streams: {before:.0f} MiB", flush=True)
        with idle(server, IDLE):
            with_idle = resident_mib(server)
            print(f"with {IDLE:,} idle connections: +{with_idle - before:.1f} MiB", flush=True)
            with streaming(server, STREAMING):
                print(f"and {STREAMING} streaming ones: +{resident_mib(server) - before:.1f} MiB", flush=True)


if __name__ == "__main__":
    main()
