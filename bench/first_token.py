#!/usr/bin/env python3
"""How long a server takes from its start to the first token: by the clock, and of processor time.

bench/first_token.py [--rounds N] [--log] MODEL [FLAG...]   after a build, with Debian's python3-grpcio

FLAGs are those of fma-server. Files are read once before, so they come from the page cache.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).resolve().parent / "doors"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from door_cost import cpu_seconds
from service import Service

# fma.v1.GenerateRequest: token_ids {ids: [5]}, sampling {temperature: 0}, max_tokens: 1, ignore_eos: true.
MESSAGE = b"\x12\x03\x0a\x01\x05\x1a\x05\x0d\x00\x00\x00\x00\x20\x01\x28\x01"


def first_token(model: Path, flags: list[str], show_log: bool) -> tuple[float, float]:
    """Seconds until a new server has answered with a token, and its processor's."""
    started = time.monotonic()
    with Service(*flags, model=model) as server:
        with grpc.insecure_channel(server.address) as channel:
            next(iter(channel.unary_stream("/fma.v1.Generation/Generate")(MESSAGE, timeout=300)))
        seconds = time.monotonic() - started
        cpu = cpu_seconds(server)
        if show_log:
            print(server.log())
        return seconds, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--log", action="store_true", help="show the log of each server")
    parser.add_argument("model", type=Path)
    parser.add_argument("flags", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    for file in options.model.iterdir():
        with file.open("rb") as content:
            while content.read(1 << 24):
                pass
    rounds = [first_token(options.model, options.flags, options.log) for _ in range(options.rounds)]
    for seconds, cpu in rounds:
        print(f"{seconds:.2f} s, {cpu:.2f} s of processor time")
    print(f"median {statistics.median(seconds for seconds, _ in rounds):.2f} s", end=", ")
    print(f"{statistics.median(cpu for _, cpu in rounds):.2f} s of processor time")


if __name__ == "__main__":
    main()
