"""A session that reads a long book: what it takes, how fast it goes on, and whether a copy goes on in the same way.

    long_session.py --model DIR --book FILE --tokens 65536

At each power of two from 1,024 tokens on a fork of the session generates --generate tokens. Prints a Markdown table:
tokens for each second of processor time of the server, which has one thread, of reading since the line before and of
generating there; and its resident memory. At the end the session is exported and imported, and both go on greedily:
tokens and log-probabilities must be equal bit for bit.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from server_metrics import metric
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))

from programs import BIN, free_port, serve  # noqa: E402

TURN = 4096  # tokens that are sent at once


class Session:
    """One session of a server, driven by the `fma` tool."""

    def __init__(self, address: str, http: int, name: str) -> None:
        self.address, self.http, self.name = address, http, name

    def fma(self, *words: object) -> list[Any]:
        """The JSON lines that it prints."""
        command = [str(word) for word in (BIN / "fma", *words, "--json", "--server", self.address)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def read(self, ids: list[int], generate: int = 1) -> list[Any]:
        options = ["--max-tokens", generate, "--temperature", 0, "--ignore-eos", "--logprobs"]
        return self.fma("generate", "--session", self.name, "--token-ids", json.dumps(ids), *options)

    def create(self) -> None:
        self.fma("sessions", "create", self.name)

    def timed_read(self, ids: list[int]) -> float:
        """Processor seconds of the server."""
        before = self.used()
        self.read(ids)
        return self.used() - before

    def used(self) -> float:
        return metric(self.http, "process_cpu_seconds_total")

    def decode_seconds(self, token: int, count: int) -> float:
        """Processor seconds that so many tokens take in a fork, which is deleted."""
        (fork,) = self.fma("sessions", "fork", self.name)
        copy = Session(self.address, self.http, fork["session_id"])
        copy.read([token])  # brings the state into a slot
        before = self.used()
        lines = copy.read([token], count)
        seconds = self.used() - before
        self.fma("sessions", "delete", copy.name)
        if not all(math.isfinite(value) for value in logprobs(lines)):
            raise FloatingPointError("a log-probability is not finite")
        return seconds


def logprobs(lines: list[Any]) -> list[float]:
    return [value for line in lines for value in line.get("logprobs", [])]


def tokens(lines: list[Any]) -> list[int]:
    return [token for line in lines for token in line.get("token_ids", [])]


def read_book(session: Session, ids: list[int], count: int) -> None:
    print("| tokens | reading | generating | resident, MiB |\n| --- | --- | --- | --- |")
    position, goal, seconds, since = 0, 1024, 0.0, 0
    while position < len(ids):
        end = min(position + TURN, goal, len(ids))
        seconds, since = seconds + session.timed_read(ids[position:end]), since + end - position
        position = end
        if position in (goal, len(ids)):
            rate = count / session.decode_seconds(ids[position - 1], count)
            resident = metric(session.http, "process_resident_memory_bytes") / 2**20
            print(f"| {position:,} | {since / seconds:.0f} | {rate:.1f} | {resident:.0f} |", flush=True)
            goal, seconds, since = 2 * goal, 0.0, 0


def copies_are_equal(session: Session, token: int, count: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "session.fma"
        session.fma("sessions", "export", session.name, file)
        session.fma("sessions", "import", file, "copy")
    copy = Session(session.address, session.http, "copy").read([token], count)
    original = session.read([token], count)
    return tokens(copy) == tokens(original) and logprobs(copy) == logprobs(original) and len(tokens(copy)) == count


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=Path, required=True, help="folder that fma-convert wrote")
    options.add_argument("--book", type=Path, required=True, help="UTF-8 text")
    options.add_argument("--tokens", type=int, default=65_536)
    options.add_argument("--generate", type=int, default=128, help="tokens where the speed is measured")
    arguments = options.parse_args()
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    ids = tokenizer.encode(arguments.book.read_text("utf-8"), add_special_tokens=False).ids[: arguments.tokens]
    http = free_port()
    flags = ["--threads", 1, "--slots", 1, "--device", "cpu", "--rewind-points", 0, "--prefix-cache-memory", 0]
    with serve(arguments.model, *flags, "--http", f"127.0.0.1:{http}") as address:
        session = Session(address, http, "book")
        session.create()
        read_book(session, ids, arguments.generate)
        equal = copies_are_equal(session, ids[-1], arguments.generate)
    print(f"\nan imported copy goes on {'with equal bits' if equal else 'DIFFERENTLY'}")
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
