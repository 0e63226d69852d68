#!/usr/bin/env python3
"""What a streamed token costs the server over HTTP and over gRPC: CPU time of the process, model and all.

bench/doors/door_cost.py [MODEL]   after a build, with Debian's python3-grpcio
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from programs import DEMO_MODEL
from service import Service

STREAMS = 64
TOKENS = 60
ROUNDS = 3
# fma.v1.GenerateRequest: token_ids {ids: [5]}, sampling {temperature: 0}, max_tokens, ignore_eos: true.
MESSAGE = b"\x12\x03\x0a\x01\x05\x1a\x05\x0d\x00\x00\x00\x00\x20" + bytes([TOKENS]) + b"\x28\x01"
BODY = json.dumps({"prompt": [5], "temperature": 0, "max_tokens": TOKENS, "ignore_eos": True, "stream": True})


def over_http(server: Service) -> int:
    """Runs one stream; returns its events."""
    connection = http.client.HTTPConnection("127.0.0.1", server.openai_port, timeout=300)
    connection.request("POST", "/v1/completions", BODY)
    answer = connection.getresponse()
    events = sum(line.startswith(b"data: {") for line in answer)
    connection.close()
    return events


def over_grpc(server: Service) -> int:
    """The same; returns its messages."""
    with grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        return sum(1 for _ in channel.unary_stream("/fma.v1.Generation/Generate")(MESSAGE, timeout=300))


def cpu_seconds(server: Service) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(server: Service, stream: Callable[[Service], int]) -> tuple[float, int]:
    """Microseconds for each token, and messages of all streams."""
    messages: list[int] = []
    threads = [threading.Thread(target=lambda: messages.append(stream(server))) for _ in range(STREAMS)]
    before = cpu_seconds(server)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (cpu_seconds(server) - before) / (STREAMS * TOKENS) * 1e6, sum(messages)


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else DEMO_MODEL
    with Service("--openai", "127.0.0.1:0", "--threads", 1, model=model) as server:
        for _ in range(ROUNDS):
            for name, stream in (("gRPC", over_grpc), ("HTTP", over_http)):
                cost, messages = measure(server, stream)
                print(f"{name}: {cost:.0f} us a token, {messages} messages for {STREAMS * TOKENS} tokens", flush=True)


if __name__ == "__main__":
    main()
