"""What survives the end of a server: sessions of real processes that are killed or out of disk."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fma_client import Client, FmaError, Session
from programs import BIN, DEMO_MODEL

OPTIONS = {"temperature": 0.8, "seed": 5, "ignore_eos": True, "frequency_penalty": 0.2}


class Server:
    """A process that can be ended in any way."""

    def __init__(self, sessions: Path, *, preface: tuple[str, ...] = ()) -> None:
        words = [*preface, BIN / "fma-server", "--model", DEMO_MODEL, "--threads", 1]
        words += ["--listen", "127.0.0.1:0", "--session-dir", sessions]
        self.log = sessions.parent / f"server-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([str(word) for word in words], stdout=log, stderr=log)
        while "listening on" not in (text := self.log.read_text()):
            assert self.process.poll() is None, text
            time.sleep(0.02)
        self.address = f"127.0.0.1:{int(text.split('port ')[1].split()[0])}"

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(timeout=60)


@contextmanager
def server(sessions: Path, *, preface: tuple[str, ...] = ()) -> Iterator[Server]:
    made = Server(sessions, preface=preface)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.end(signal.SIGKILL)


def uninterrupted(folder: Path, turns: list[str], max_tokens: int) -> list[list[int]]:
    """The token ids of each turn on a server that lives."""
    with server(folder / "whole") as alive, Client(alive.address) as client, client.create_session() as session:
        return [session.generate(turn, max_tokens=max_tokens, **OPTIONS).read()[0].token_ids for turn in turns]


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    turns = [f"Chapter {number}. It was" for number in range(8)]
    expected = uninterrupted(tmp_path, turns, 20)
    chooser = random.Random(1)
    folder = tmp_path / "sessions"
    name = ""
    before: list[int] = []
    for turn, tokens in zip(turns, expected, strict=True):
        with server(folder) as alive, Client(alive.address) as client:
            session = client.session(name) if name else client.create_session()
            name = session.session_id
            held = session.info().tokens
            assert session.generate(turn, max_tokens=20, **OPTIONS).read()[0].token_ids == tokens
            assert session.info().durable
            # A turn that is cut off by the kill must leave no trace.
            lost = session.generate("Never to be seen", max_tokens=100_000, **OPTIONS)
            for _ in range(chooser.randrange(1, 40)):
                next(lost)
            alive.end(signal.SIGKILL)
            with pytest.raises(FmaError):
                lost.read()
            before.append(held)
    assert before == sorted(set(before)), "each turn adds its own tokens and no others"


def go_on_in_memory(client: Client) -> Session:
    """A session whose turns cannot be saved, and are what they would have been."""
    session = client.create_session()
    expected = client.generate("It was", max_tokens=10, **OPTIONS).read()[0].token_ids
    assert session.generate("It was", max_tokens=10, **OPTIONS).read()[0].token_ids == expected
    assert not session.info().durable
    assert session.generate(" dark", max_tokens=10, **OPTIONS).read()[0].token_ids
    return session


def test_files_that_cannot_be_written_do_not_stop_the_service(tmp_path: Path) -> None:
    # No file may be longer than 4 KiB.
    limited = ("/bin/sh", "-c", 'ulimit -f 8; trap "" XFSZ; exec "$@"', "sh")
    with server(tmp_path / "sessions", preface=limited) as alive, Client(alive.address) as client:
        go_on_in_memory(client)
        assert alive.end(signal.SIGTERM) == 0
        assert "in memory only" in alive.log.read_text()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB, which no state of the demo model fits on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a full disk needs the right to mount one")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_does_not_stop_the_service(small_disk: Path) -> None:
    with server(small_disk / "sessions") as alive, Client(alive.address) as client:
        session = go_on_in_memory(client)
        files = [file for file in small_disk.rglob("*") if file.is_file()]
        assert sum(file.stat().st_size for file in files) < 1 << 16, "what did not fit is gone"
        subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
        assert session.generate(" and", max_tokens=10, **OPTIONS).read()[0].token_ids
        assert session.info().durable, "there is room again"
        held = session.info().tokens
        alive.end(signal.SIGKILL)
    with server(small_disk / "sessions") as alive, Client(alive.address) as client:
        assert client.session(session.session_id).info().tokens == held
