"""A real redis-server, in which servers keep sessions."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from programs import free_port
from service import eventually

#: Debian's server is the same program under another name; its own package would start it as a service.
PROGRAM = os.environ.get("FMA_REDIS_SERVER", "/usr/bin/redis-check-rdb")


class Redis:
    """A process that keeps all that it acknowledges, in a folder of its own."""

    def __init__(self, folder: Path, *words: object, tls: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        self.port = free_port()
        self.url = f"redis{'s' if tls else ''}://127.0.0.1:{self.port}"
        where = ("--port", 0, "--tls-port", self.port) if tls else ("--port", self.port)
        self._command = ["redis-server", *where, "--bind", "127.0.0.1", "--dir", folder, "--save", "", *words]
        self._command += ["--appendonly", "yes", "--appendfsync", "always", "--logfile", folder / "log"]
        self._log = folder / "log"
        self.start()

    def start(self) -> None:
        ready = self._log.read_text().count("Ready to accept") if self._log.exists() else 0
        self.process = subprocess.Popen([str(word) for word in self._command], executable=PROGRAM)
        assert eventually(lambda: self._log.exists() and self._log.read_text().count("Ready to accept") > ready)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def redis(folder: Path, *words: object, tls: bool = False) -> Iterator[Redis]:
    made = Redis(folder, *words, tls=tls)
    try:
        yield made
    finally:
        made.kill()
