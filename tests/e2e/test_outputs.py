"""No program ends well whose output was lost, and each writes where it was told to."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from devices import full_device
from programs import BIN, DEMO_MODEL, GOLDEN, serve

AVERAGE = GOLDEN / "average"
EVAL = (BIN / "fma-eval", "--model", AVERAGE, "--token-ids", AVERAGE / "case.json")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serve(DEMO_MODEL) as server:
        yield server


def shell(command: tuple[object, ...], redirection: str, **options: object) -> subprocess.CompletedProcess[str]:
    words = ["sh", "-c", f'exec "$@" {redirection}', "sh", *(str(word) for word in command)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, **options)


def calls(address: str) -> list[tuple[object, ...]]:
    tool = (BIN / "fma",)
    end = ("--server", address)
    return [
        (*tool, "generate", "Once", "--max-tokens", 3, *end),
        (*tool, "generate", "Once", "--max-tokens", 3, "--n", 2, *end),
        (*tool, "generate", "Once", "--max-tokens", 3, "--echo", *end),
        (*tool, "generate", "Once", "--max-tokens", 3, "--json", *end),
        (*tool, "score", "The cat", *end),
        (*tool, "score", "The cat", "--json", *end),
        (*tool, "tokenize", "words", *end),
        (*tool, "detokenize", 65, 66, *end),
        (*tool, "models", *end),
        (*tool, "models", "--json", *end),
        (*tool, "health", *end),
        (*tool, "sessions", "create", *end),
        (*tool, "sessions", "list", *end),
        (*tool, "--help"),
        (*tool, "generate", "--help"),
        (BIN / "fma-server", "--help"),
        (BIN / "fma-server", "--model", "m", "--print-config"),
        (BIN / "fma-bench", "--requests", 1, "--prompt-tokens", "fixed:4", "--output-tokens", "fixed:2", *end),
        (BIN / "fma-bench", "--help"),
        (BIN / "fma-eval", "--help"),
        EVAL,
    ]


def test_output_that_is_lost_is_told(address: str) -> None:
    for command in calls(address):
        full = shell(command, ">/dev/full")
        assert full.returncode == 1, (command, full)
        assert "standard output: No space left on device" in full.stderr, command
        closed = shell(command, ">&-")
        assert closed.returncode == 1, (command, closed)
        assert "standard output: Bad file descriptor" in closed.stderr, command
        assert shell(command, ">/dev/null").returncode == 0, command


def test_a_reader_that_has_enough_is_no_failure(address: str) -> None:
    for command in calls(address):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [str(word) for word in command], stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=120
        )
        os.close(write)
        assert done.returncode == 0, (command, done)


def test_standard_input_that_is_closed_is_told(address: str) -> None:
    done = shell((BIN / "fma", "tokenize", "--prompt-file", "-", "--server", address), "<&-")
    assert done.returncode == 2 and "standard input: Bad file descriptor" in done.stderr


def test_texts_may_look_like_options(address: str) -> None:
    def tokens(*words: str) -> list[int]:
        done = shell((BIN / "fma", "tokenize", "--json", "--server", address, *words), "</dev/null")
        assert done.returncode == 0, done.stderr
        ids = json.loads(done.stdout)["token_ids"]
        assert isinstance(ids, list)
        return ids

    def as_file(text: str, folder: Path) -> list[int]:
        (folder / "text").write_text(text)
        return tokens("--prompt-file", str(folder / "text"))

    for text in ("--help", "--", "-n", "--no-such-option 7", "[a, b]", "-"):
        assert tokens("--", text) == as_file(text, Path(os.environ.get("TMPDIR", "/tmp"))), text
    generate = (BIN / "fma", "generate", "--max-tokens", 2, "--server", address, "--", "--json")
    assert shell(generate, "</dev/null").returncode == 0


def test_a_text_that_is_given_empty_is_not_standard_input(address: str) -> None:
    command = (BIN / "fma", "tokenize", "--json", "", "--server", address)
    done = shell(command, "", input="not this")
    assert json.loads(done.stdout)["tokens"] == [], done


@pytest.mark.parametrize("option", ["--seed", "--top-k", "--mark", "--allow-token", "--max-tokens"])
def test_negative_numbers_are_refused_and_not_bent(address: str, option: str) -> None:
    done = shell((BIN / "fma", "generate", "Once", option, -1, "--server", address), "")
    assert (done.returncode, done.stdout) == (2, ""), done
    assert option in done.stderr and "-1" in done.stderr


def test_folders_in_the_place_of_files_are_named(address: str, tmp_path: Path) -> None:
    end = ("--server", address)
    for command in (
        (BIN / "fma", "generate", "--prompt-file", tmp_path, *end),
        (BIN / "fma", "sessions", "import", tmp_path, *end),
        (BIN / "fma", "sessions", "export", "story", tmp_path, *end),
        (BIN / "fma-bench", "--prompt-file", tmp_path, *end),
        (BIN / "fma-eval", "--model", AVERAGE, "--text", tmp_path),
    ):
        done = shell(command, "")
        assert done.returncode == 2 and str(tmp_path) in done.stderr, (command, done)


@pytest.fixture(scope="module")
def session(address: str) -> str:
    shell((BIN / "fma", "sessions", "create", "story", "--server", address), "")
    done = shell((BIN / "fma", "generate", "--session", "story", "It was", "--max-tokens", 2, "--server", address), "")
    assert done.returncode == 0, done.stderr
    return "story"


def blob(address: str, session: str, file: object, redirection: str = "") -> subprocess.CompletedProcess[bytes]:
    words = ["sh", "-c", f'exec "$@" {redirection}', "sh", str(BIN / "fma"), "sessions", "export", session, str(file)]
    return subprocess.run([*words, "--server", address], capture_output=True, check=False, timeout=120)


def imports(address: str, file: object, **options: object) -> bool:
    command = (BIN / "fma", "sessions", "import", file, "--server", address)
    return shell(command, "", **options).returncode == 0


def test_exports_go_where_they_were_sent(address: str, session: str, tmp_path: Path) -> None:
    file = tmp_path / "story.fma"
    assert blob(address, session, file).returncode == 0
    whole = file.read_bytes()
    assert imports(address, file)

    assert blob(address, session, "-").stdout == blob(address, session, "/dev/stdout").stdout == whole
    command = [BIN / "fma", "sessions", "import", "-", "--server", address]
    assert subprocess.run(command, input=whole, capture_output=True, check=False).returncode == 0

    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with open(tmp_path / "read", "wb") as read, subprocess.Popen(["cat", fifo], stdout=read) as reader:
        assert blob(address, session, fifo).returncode == 0
        assert reader.wait(timeout=60) == 0
    assert (tmp_path / "read").read_bytes() == whole
    assert stat.S_ISFIFO(fifo.lstat().st_mode)

    for name, target in (("link", file), ("dangling", tmp_path / "new.fma"), ("relative", Path("near.fma"))):
        link = tmp_path / name
        link.symlink_to(target)
        (tmp_path / "story.fma").write_text("old")
        assert blob(address, session, link).returncode == 0
        assert link.is_symlink() and link.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_devices_stay_devices(address: str, session: str, tmp_path: Path) -> None:
    device = full_device(tmp_path)
    before = device.stat()
    done = blob(address, session, device)
    assert done.returncode == 1 and f"{device}: No space left on device".encode() in done.stderr
    after = device.lstat()
    assert stat.S_ISCHR(after.st_mode) and (after.st_rdev, after.st_ino) == (before.st_rdev, before.st_ino)
    assert [path.name for path in tmp_path.iterdir()] in ([device.name], [])
    lost = blob(address, session, "-", ">/dev/full")
    assert lost.returncode == 1 and b"standard output: No space left on device" in lost.stderr


def test_an_export_that_fails_leaves_the_old_file(address: str, session: str, tmp_path: Path) -> None:
    file = tmp_path / "story.fma"
    file.write_text("precious")
    assert blob(address, "no-such-session", file).returncode == 3
    full = subprocess.run(
        [
            "sh",
            "-c",
            'ulimit -f 1 && exec "$@"',
            "sh",
            BIN / "fma",
            "sessions",
            "export",
            session,
            file,
            "--server",
            address,
        ],
        capture_output=True,
        check=False,
    )
    assert full.returncode == 1 and b"File too large" in full.stderr, full
    assert file.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["story.fma"]


def test_reports_and_logits_that_are_lost_are_told(address: str) -> None:
    bench = (BIN / "fma-bench", "--requests", 1, "--prompt-tokens", "fixed:4", "--output-tokens", "fixed:2")
    report = shell((*bench, "--json", "/dev/full", "--server", address), "")
    assert report.returncode == 1 and "/dev/full" in report.stderr
    for option in ("--logits", "--losses"):
        lost = shell((*EVAL, option, "/dev/full"), "")
        assert lost.returncode == 1 and "/dev/full" in lost.stderr, option
