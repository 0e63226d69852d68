"""A server process with its HTTP port, for tests of running it as a service."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from programs import BIN, DEMO_MODEL


def eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether `condition` becomes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


class Service:
    """A running fma-server; its log is in a file, so that it never waits for a reader."""

    def __init__(
        self,
        *flags: object,
        model: object = DEMO_MODEL,
        ready: bool = True,
        env: dict[str, str] | None = None,
        before: Sequence[str] = (),
        listen: str = "127.0.0.1:0",
        program: object = BIN / "fma-server",
        cwd: Path | None = None,
    ):
        """`before` are words before the command."""
        self._log = tempfile.NamedTemporaryFile("r", suffix=".log")
        command = [*before, program, "--model", model, "--listen", listen]
        command += [*(() if "--http" in flags else ("--http", "127.0.0.1:0")), *flags]
        with open(self._log.name, "w") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdout=log, stderr=log, env={**os.environ, **(env or {})}, cwd=cwd
            )
        self.http_port = self._port(r"HTTP on .*?, port (\d+)")
        self.grpc_port = self._port(r"listening on .*?, port (\d+)") if ready else 0
        self.openai_port = self._port(r"OpenAI API on .*?, port (\d+)") if "--openai" in flags else 0

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def log(self) -> str:
        return Path(self._log.name).read_text()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """Drains the server; returns the exit code."""
        self.process.terminate()
        return self.process.wait(timeout=60)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def scrape(self) -> dict[str, float]:
        """Every series and its value."""
        status, page = self.get("/metrics")
        assert status == 200
        lines = (line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
        return {series: float(value) for series, value in lines}

    def sum(self, name: str) -> float:
        """The sum over all series of a metric."""
        return sum(value for series, value in self.scrape().items() if re.fullmatch(name + r"(\{.*\})?", series))

    def client(self, *words: object, **options: object) -> subprocess.Popen[str]:
        """The `fma` tool, running a subcommand against this server."""
        command = [str(BIN / "fma"), *(str(word) for word in words), "--server", self.address]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )

    def run(self, *words: object) -> tuple[int, str, str]:
        """Exit code, output and error output of the `fma` tool."""
        with self.client(*words) as process:
            output, errors = process.communicate(timeout=120)
        return process.returncode, output, errors

    def _port(self, pattern: str) -> int:
        def found() -> bool:
            return re.search(pattern, self.log()) is not None or self.process.poll() is not None

        match = re.search(pattern, self.log()) if eventually(found) else None
        assert match is not None, self.log()
        return int(match.group(1))
