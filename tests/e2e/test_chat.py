"""`fma chat` as a person uses it, in a terminal, and as a script does."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import BIN, run, serve
from programs import chat_model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(chat_model(tmp_path_factory.mktemp("models") / "talker")) as address:
        yield address


class Terminal:
    """The program in a pseudo-terminal."""

    def __init__(self, *command: object) -> None:
        self._pid, self._descriptor = pty.fork()
        if self._pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(str(command[0]), [str(word) for word in command])
        self._seen = ""
        self._seen_end = False

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def wait_for(self, pattern: str) -> str:
        """What is shown up to the pattern and with it; later calls look behind it."""
        deadline = time.monotonic() + 60
        while not (found := re.search(pattern, self._seen)):
            if not self._read(deadline - time.monotonic()):
                pytest.fail(f"no {pattern!r} in {self._seen[-500:]!r}")
        shown, self._seen = self._seen[: found.end()], self._seen[found.end() :]
        return shown

    def wait(self) -> int:
        while self._read(60):
            pass
        if not self._seen_end:
            os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        os.close(self._descriptor)
        return os.waitstatus_to_exitcode(status)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._descriptor], [], [], max(0, seconds))[0]:
            return False
        try:
            piece = os.read(self._descriptor, 65536)
        except OSError:  # the program has ended
            piece = b""
        self._seen_end = not piece
        self._seen += piece.decode(errors="replace")
        return bool(piece)


def chat(server: str, *options: object, max_tokens: int = 8) -> Terminal:
    words = ["--server", server, "--temperature", 0, "--max-tokens", max_tokens, *options]
    return Terminal(BIN / "fma", "chat", *words)


def count_tokens(server: str, text: str) -> int:
    return len(json.loads(run(BIN / "fma", "tokenize", text, "--json", "--server", server))["token_ids"])


def sessions(server: str) -> list[str]:
    return [line.split()[0] for line in run(BIN / "fma", "sessions", "list", "--server", server).splitlines()]


def tokens(shown: str) -> int:
    found = re.search(r"([\d,]+) tokens; cache", shown)
    assert found, shown
    return int(found.group(1).replace(",", ""))


COST = r"tokens; cache [^\r\n]*"


def test_a_conversation_in_a_terminal(server: str, tmp_path: Path) -> None:
    before = set(sessions(server))
    talk = chat(server)
    talk.wait_for(r"/help lists")
    talk.type("Who are you?\r")
    first = tokens(talk.wait_for(COST))
    talk.type("And who am I?\r")
    second = tokens(talk.wait_for(COST))
    assert second > first > 8
    talk.type("/rewind\r")
    assert tokens(talk.wait_for(r"back at [^\r\n]*" + COST)) == first
    talk.type("/context\r")
    (name,) = re.findall(r"session (\S+)", talk.wait_for(r"session \S+"))
    assert name in sessions(server)
    saved = tmp_path / "talk.fma"
    talk.type(f"/save {saved}\r")
    talk.wait_for(r"saved: ")
    talk.type("/fork\r")
    assert name in talk.wait_for(r"stays: fma chat --session \S+")
    talk.type("/nonsense\r")
    talk.wait_for(r'command is "/nonsense"; allowed: those that /help lists')
    talk.type("/quit\r")
    assert talk.wait() == 0
    # Only what was forked from stays.
    assert set(sessions(server)) - before == {name}
    run(BIN / "fma", "sessions", "import", saved, "copy", "--server", server)
    shown = run(BIN / "fma", "sessions", "show", "copy", "--json", "--server", server)
    assert f'"tokens":{first}' in shown.replace(" ", "")


def test_pasted_lines_are_one_message(server: str) -> None:
    talk = chat(server, max_tokens=1)
    talk.wait_for(r"/help lists")
    talk.wait_for(r"\x1b\[\?2004h")
    talk.type("\x1b[200~one é\rtwo\r日本\x1b[201~")
    talk.type("\r")
    # The answer has one token.
    expected = count_tokens(server, "user: one é\ntwo\n日本\n\nassistant:") + 1
    assert tokens(talk.wait_for(COST)) == expected
    talk.type("\x04")
    assert talk.wait() == 0


def test_ctrl_c_stops_the_answer_and_not_the_program(server: str) -> None:
    talk = chat(server, "--ignore-eos", max_tokens=1_000_000)
    talk.wait_for(r"/help lists")
    talk.wait_for("> ")
    talk.type("Tell me a story\r")
    talk.wait_for(r"\x1b\[\?2004l[\s\S]{60}")
    talk.type("\x03")
    talk.wait_for(r"stopped; the conversation is as it was before")
    talk.wait_for("> ")
    talk.type("half a line\x03")
    talk.wait_for(r"\^C")
    talk.type("/context\r")
    assert tokens(talk.wait_for(COST)) == 0
    talk.type("/quit\r")
    assert talk.wait() == 0


def script(server: str, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [BIN / "fma", "chat", "--server", server, "--temperature", "0", "--max-tokens", "8", *options]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=120)


def test_lines_of_a_script(server: str) -> None:
    done = script(server, "Hello\n\n/more\nAnd then?\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") >= 3
    assert len(re.findall(COST, done.stderr)) == 3
    assert done.stdout.startswith(script(server, "Hello\n").stdout)


def test_shares_are_shown_after_each_answer(server: str) -> None:
    done = script(server, "Hello\nAnd then?\n", "--shares")
    assert done.returncode == 0, done.stderr
    layers = re.findall(r"^ *(\d+|all) +[\d.]+", done.stderr, re.MULTILINE)
    assert layers == [*"012345", "all"] * 2, done.stderr
    assert "layer" not in script(server, "Hello\n").stderr


def test_a_script_ends_where_it_is_refused(server: str) -> None:
    done = script(server, "/rewind\nHello\n")
    assert done.returncode == 3
    assert "number of exchanges to forget is 1; allowed: none" in done.stderr
    assert done.stdout == ""


def test_system_messages_come_first(server: str) -> None:
    given = script(server, "Hi\n", "--system", "Be brief.")
    later = script(server, "/system Be brief.\nHi\n")
    assert given.returncode == later.returncode == 0
    assert given.stdout == later.stdout
    assert tokens(given.stderr) > tokens(script(server, "Hi\n").stderr)


def test_a_named_session_stays(server: str) -> None:
    first = tokens(script(server, "Hi\n", "--session", "tale").stderr)
    second = script(server, "And then?\n", "--session", "tale")
    assert tokens(second.stderr) > first
    late = script(server, "Hi\n", "--session", "tale", "--system", "Be brief.")
    assert late.returncode == 2
    assert "allowed: none for a session that holds a conversation" in late.stderr


def test_models_without_a_template_are_refused(demo_server: str) -> None:
    done = script(demo_server, "Hi\n")
    assert done.returncode == 3
    assert "allowed: one with a chat template" in done.stderr
