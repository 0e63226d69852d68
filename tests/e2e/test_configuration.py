"""Options from the command line, the environment and a file, and their documentation."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from programs import BIN, ROOT


def server(*flags: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "fma-server"), *(str(flag) for flag in flags)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def effective(*flags: object, **environment: str) -> dict[str, str]:
    done = server("--model", "m", *flags, "--print-config", **environment)
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^([\w-]+)=(.*)$", done.stdout, re.M))


def test_every_flag_is_documented() -> None:
    options = re.findall(r"^  (?:-\w,)?(--[\w-]+)(.*)$", server("--help").stdout, re.M)
    environment = {flag: re.findall(r"\(Env:(\w+)\)", rest) for flag, rest in options if flag != "--help"}
    environment["--config"] = ["FMA_CONFIG"]  # which CLI11 does not know about
    table = (ROOT / "docs" / "operations.md").read_text().split("## Flags of fma-server")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(--[\w-]+)[^`]*` \| (?:`(\w+)` )?\|", table, re.M)
    assert {flag: [name] if name else [] for flag, name in rows} == environment


def test_command_line_wins_over_environment_over_file(tmp_path: Path) -> None:
    file = tmp_path / "fma.toml"
    file.write_text("slots = 1\nmax-queue = 2\nthreads = 3\n")
    found = effective("--config", file, "--slots", 10, FMA_SLOTS="11", FMA_MAX_QUEUE="12")
    assert (found["slots"], found["max-queue"], found["threads"]) == ("10", "12", "3")
    assert effective(FMA_CONFIG=str(file))["threads"] == "3"


def test_what_is_printed_can_be_read_again(tmp_path: Path) -> None:
    first = server("--model", "a model's folder", "--slots", 7, "--session-memory", "3G", "--print-config").stdout
    (tmp_path / "fma.toml").write_text(first)
    assert server("--config", tmp_path / "fma.toml", "--print-config").stdout == first
    assert f"session-memory={3 << 30}" in first


def test_wrong_configuration_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "fma.toml"
    for text, named in (("slotz = 3", "slotz"), ("[engine]\nslots = 3", "[engine]"), ("slots = -1", "--slots")):
        file.write_text(text)
        done = server("--model", "m", "--config", file)
        assert (done.returncode, named in done.stderr) == (2, True), done.stderr
    assert server("--model", "m", "--config", tmp_path / "missing").returncode == 2
    assert server("--model", "m", FMA_CONFIG=str(tmp_path / "missing")).returncode == 2
    assert "--slots" in server("--model", "m", FMA_SLOTS="many").stderr
