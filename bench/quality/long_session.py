"""A session that reads a long book: what it takes, how fast it goes on, and whether a copy goes on in the same way.

    long_session.py --model DIR --book FILE --tokens 262144

At each power of two from 1,024 tokens on a fork of the session generates --generate tokens. Prints a Markdown table:
tokens a second of reading since the line before and of generating there, and the server's resident memory. At the end
the session is exported and imported, and both go on greedily: tokens and log-probabilities must be equal bit for bit.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))

from programs import BIN, free_port, serve  # noqa: E402

TURN = 4096  # tokens that are sent at once


class Session:
    """One session of a server, driven by the `fma` tool."""

    def __init__(self, address: str, name: str) -> None:
        self.address, self.name = address, name

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

    def decode_rate(self, token: int, count: int) -> float:
        """Of a fork, which is deleted."""
        (fork,) = self.fma("sessions", "fork", self.name)
        lines = Session(self.address, fork["session_id"]).read([token], count)
        self.fma("sessions", "delete", fork["session_id"])
        for value in logprobs(lines):
            if not math.isfinite(value):
                raise FloatingPointError(f"a log-probability is {value}")
        return (count - 1) / float(lines[-1]["usage"]["decode_seconds"])


def logprobs(lines: list[Any]) -> list[float]:
    return [value for line in lines for value in line.get("logprobs", [])]


def tokens(lines: list[Any]) -> list[int]:
    return [token for line in lines for token in line.get("token_ids", [])]


def resident_mib(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    (found,) = (line for line in lines if line.startswith("process_resident_memory_bytes "))
    return float(found.split()[1]) / 2**20


def read_book(session: Session, ids: list[int], count: int, http: int) -> None:
    print("| tokens | reading, tokens/s | generating, tokens/s | resident, MiB |\n| --- | --- | --- | --- |")
    position, goal, seconds, since = 0, 1024, 0.0, 0
    while position < len(ids):
        end = min(position + TURN, goal, len(ids))
        usage = session.read(ids[position:end])[-1]["usage"]
        seconds, since, position = seconds + float(usage["prefill_seconds"]), since + end - position, end
        if position in (goal, len(ids)):
            rate = session.decode_rate(ids[position - 1], count)
            print(f"| {position:,} | {since / seconds:.0f} | {rate:.1f} | {resident_mib(http):.0f} |", flush=True)
            goal, seconds, since = 2 * goal, 0.0, 0


def copies_are_equal(session: Session, token: int, count: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "session.fma"
        session.fma("sessions", "export", session.name, file)
        session.fma("sessions", "import", file, "copy")
    copy = Session(session.address, "copy").read([token], count)
    original = session.read([token], count)
    return tokens(copy) == tokens(original) and logprobs(copy) == logprobs(original) and len(tokens(copy)) == count


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=Path, required=True, help="folder that fma-convert wrote")
    options.add_argument("--book", type=Path, required=True, help="UTF-8 text")
    options.add_argument("--tokens", type=int, default=262_144)
    options.add_argument("--generate", type=int, default=64, help="tokens where the speed is measured")
    arguments = options.parse_args()
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    ids = tokenizer.encode(arguments.book.read_text("utf-8"), add_special_tokens=False).ids[: arguments.tokens]
    http = free_port()
    flags = ["--slots", 1, "--rewind-points", 0, "--prefix-cache-memory", 0, "--http", f"127.0.0.1:{http}"]
    with serve(arguments.model, *flags) as address:
        session = Session(address, "book")
        session.create()
        read_book(session, ids, arguments.generate, http)
        equal = copies_are_equal(session, ids[-1], arguments.generate)
    print(f"\nan imported copy goes on {'with equal bits' if equal else 'DIFFERENTLY'}")
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
