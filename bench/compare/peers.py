"""The two servers that are compared, each a process with an HTTP port of OpenAI's completions."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "build/release/bin"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Peer:
    """A running server."""

    name: str
    port: int
    pid: int
    log: str  # until it listened

    def processor_seconds(self) -> float:
        """That it has used so far, of all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def fma_server(model: Path, threads: int, streams: int, cache: str, *flags: str) -> Iterator[Peer]:
    command = [str(BIN / "fma-server"), "--model", str(model), "--listen", "127.0.0.1:0", "--openai", "127.0.0.1:0"]
    command += ["--device", "cpu", "--threads", str(threads), "--slots", str(streams), "--cache-dtype", cache, *flags]
    with _running("fma-server", command, r"OpenAI API on .*?, port (\d+)") as peer:
        yield peer


@contextmanager
def llama_cpp(file: Path, threads: int, streams: int, context: int) -> Iterator[Peer]:
    command = [sys.executable, str(Path(__file__).with_name("llama_server.py")), str(file)]
    command += ["--threads", str(threads), "--streams", str(streams), "--context", str(context)]
    with _running("llama.cpp", command, r"listening on .*:(\d+)") as peer:
        yield peer


@contextmanager
def _running(name: str, command: list[str], pattern: str) -> Iterator[Peer]:
    """Until the block ends; `pattern` finds the port in what the server prints."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        try:
            log = ""
            while not (found := re.search(pattern, log)):
                line = server.stdout.readline()
                if not line:
                    raise RuntimeError(f"{' '.join(command)}: ended before it listened\n{log}")
                log += line
            threading.Thread(target=server.stdout.read, daemon=True).start()  # a full pipe would stop it
            yield Peer(name, int(found[1]), server.pid, log)
        finally:
            server.terminate()
