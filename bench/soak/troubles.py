"""What an ordinary year brings to a server, one trouble after the other."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
import threading

from record import Record
from renewals import BROKEN

from server import Server


class Troubles(threading.Thread):
    def __init__(self, server: Server, record: Record, seed: int, stop: threading.Event):
        super().__init__(name="troubles")
        self._server, self._record, self._stop_event = server, record, stop
        self._random = random.Random(f"{seed} troubles")

    def run(self) -> None:
        troubles = [self._no_descriptors, self._flood, self._renewal, self._full_disk, self._standstill, self._reload]
        while not self._stop_event.is_set():
            self._random.shuffle(troubles)
            for trouble in troubles:
                if self._stop_event.wait(self._random.uniform(0, 2)):
                    return
                trouble()
                self._record.count(trouble.__name__.strip("_"))

    def _connections(self, held: contextlib.ExitStack, count: int) -> None:
        for _ in range(count):
            source = (f"127.0.0.{self._random.randrange(2, 9)}", 0)
            address = ("127.0.0.1", self._server.service.grpc_port)
            with contextlib.suppress(OSError):
                held.enter_context(socket.create_connection(address, timeout=10, source_address=source))

    def _set_file_limit(self, files: int) -> None:
        pid = self._server.service.process.pid
        subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={files}:"], check=True)

    def _no_descriptors(self) -> None:
        limit = int(self._server.service.sum("process_max_fds"))
        self._set_file_limit(self._server.open_files() + self._random.randrange(4))
        try:
            with contextlib.ExitStack() as held:
                self._connections(held, 50)
                self._stop_event.wait(2)
        finally:
            self._set_file_limit(limit)

    def _flood(self) -> None:
        with contextlib.ExitStack() as held:
            self._connections(held, 400)
            self._stop_event.wait(self._random.uniform(0, 3))

    def _renewal(self) -> None:
        """A renewal that goes wrong, and then one that does not."""
        files = self._server.certificates
        self._random.choice(BROKEN)(files)
        self._stop_event.wait(self._random.uniform(0, 7))
        files.put(files.authority.issue("renewed"))

    def _full_disk(self) -> None:
        filler = self._server.sessions / "filler"
        try:
            with contextlib.suppress(OSError), open(filler, "wb") as file:
                while True:
                    file.write(bytes(1 << 16))
            self._stop_event.wait(self._random.uniform(0, 3))
        finally:
            filler.unlink()

    def _standstill(self) -> None:
        self._server.service.signal(signal.SIGSTOP)
        self._stop_event.wait(self._random.uniform(0, 3))
        self._server.service.signal(signal.SIGCONT)

    def _reload(self) -> None:
        self._server.service.signal(signal.SIGHUP)
        for _ in range(20):
            self._server.service.get("/metrics")
