"""Options from the command line, the environment and a file, and their documentation."""

from __future__ import annotations

import os
import random
import re
import subprocess
from pathlib import Path

from programs import BIN, GOLDEN, ROOT
from service import Service


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


UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def as_printed(default: str) -> set[str]:
    """What --print-config may say for a default of the documentation."""
    if default == "none":
        return {'""', "[]"}
    number, _, unit = default.partition(" ")
    if unit:
        return {str(int(number) * UNITS[unit])}
    return {default.strip("`"), f'"{default.strip("`")}"', {"off": "false"}.get(default, default)}


def test_documented_defaults_are_the_servers() -> None:
    table = (ROOT / "docs" / "operations.md").read_text().split("## Flags of fma-server")[1].split("\n### ")[0]
    rows = re.findall(r"^\| `--([\w-]+)[^`]*` \| `\w+` \| ([^|]+) \|", table, re.M)
    documented = {flag: default for flag, default in rows if flag not in ("model", "config")}
    found = effective()
    assert set(documented) == set(found) - {"model"}
    for flag, default in documented.items():
        assert found[flag] in as_printed(default), flag


def test_ranges_are_the_documented_ones() -> None:
    for flag, least, most in (
        ("threads", 0, 1024),
        ("session-ttl", 0, 1_000_000_000),
        ("rewind-points", 0, 1000),
        ("session-log-tokens", 1, 16_777_216),
        ("max-stop-strings", 0, 16),
        ("max-samples", 1, 128),
        ("trace-ratio", 0, 1),
    ):
        for value in (least, most):
            assert effective(f"--{flag}", value)[flag] == str(value)
        for value in (least - 1, most + 1):
            done = server("--model", "m", f"--{flag}", value, "--print-config")
            assert done.returncode == 2 and f"--{flag}" in done.stderr, (flag, value, done)
    done = server("--model", GOLDEN / "average", "--slots", 65_281, "--step-tokens", 256, "--listen", "127.0.0.1:0")
    assert done.returncode == 1 and "is 65537; allowed: 1 to 65536" in done.stdout


def test_command_line_wins_over_environment_over_file(tmp_path: Path) -> None:
    file = tmp_path / "fma.toml"
    file.write_text("slots = 1\nmax-queue = 2\nthreads = 3\n")
    found = effective("--config", file, "--slots", 10, FMA_SLOTS="11", FMA_MAX_QUEUE="12")
    assert (found["slots"], found["max-queue"], found["threads"]) == ("10", "12", "3")
    assert effective(FMA_CONFIG=str(file))["threads"] == "3"


def printed(*flags: object) -> bytes:
    words = [flag if isinstance(flag, bytes) else str(flag) for flag in flags]
    done = subprocess.run([BIN / "fma-server", *words, "--print-config"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_printed_can_be_read_again(tmp_path: Path) -> None:
    first = printed("--model", "a model's folder", "--slots", 7, "--session-memory", "3G")
    (tmp_path / "fma.toml").write_bytes(first)
    assert printed("--config", tmp_path / "fma.toml") == first
    assert f"session-memory={3 << 30}".encode() in first


def odd_value(rng: random.Random) -> bytes:
    """Anything that a command line can hold, and what a parser may stumble over more often."""
    pieces = [b'"', b"'", b"\\", b"#", b",", b";", b"[", b"]", b"=", b" ", b"\t", b"\n", b"\xfc", b"\xc3\xa9", b"\\x41"]
    words = [b"true", b"nan", b"0x1F", b"010", b"1e3", b"[a, b]", b"--slots", b"a#b", b"it's \"x\"", b"C:\\"]
    anything = bytes(rng.randrange(1, 256) for _ in range(4))
    return b"".join(rng.choice([*pieces, *words, anything]) for _ in range(rng.randrange(1, 6)))


def test_any_value_can_be_printed_and_read_again(tmp_path: Path) -> None:
    rng = random.Random(17)
    file = tmp_path / "fma.toml"
    for _ in range(60):
        # A value that begins with - would be the next option.
        models = [b"m" + odd_value(rng) for _ in range(rng.randrange(1, 4))]
        flags: list[object] = [word for model in models for word in (b"--model", model)]
        for option in (b"--session-dir", b"--tokens", b"--tls-cert", b"--tls-key"):
            if rng.random() < 0.5:
                flags += [option, b"x" + odd_value(rng)]
        flags += rng.choice([[], ["--log-prompts"], ["--drain-seconds", 0.125], ["--http", "[::1]:0"]])
        first = printed(*flags)
        file.write_bytes(first)
        assert printed("--config", file) == first, flags


def test_numbers_are_decimal() -> None:
    assert effective("--slots", "010")["slots"] == "10"
    assert effective(FMA_MAX_QUEUE="08")["max-queue"] == "8"
    assert effective("--session-memory", "010M")["session-memory"] == str(10 << 20)
    for flag, value in (
        ("--slots", "0x10"),
        ("--slots", ""),
        ("--max-sessions", "99999999999999999999"),
        ("--session-memory", "-1"),
        ("--session-memory", "9E"),
        ("--prefix-cache-memory", "99999999999999999999"),
        ("--max-text-bytes", "-1"),
        ("--drain-seconds", "nan"),
        ("--max-stall-seconds", "nan"),
        ("--session-ttl", "inf"),
    ):
        done = server("--model", "m", flag, value, "--print-config")
        assert (done.returncode, flag in done.stderr) == (2, True), (flag, value, done)


def test_an_empty_variable_is_one_that_is_not_set(tmp_path: Path) -> None:
    file = tmp_path / "fma.toml"
    file.write_text('tokens = "/etc/tokens"\nslots = 3\nlog-prompts = true\n')
    flags = re.findall(r"\(Env:(\w+)\)", server("--help").stdout)
    assert len(flags) > 30
    nothing = {name: "" for name in flags if name != "FMA_MODEL"}
    found = effective("--config", file, **nothing)
    assert (found["tokens"], found["slots"], found["log-prompts"]) == ('"/etc/tokens"', "3", "true")
    assert found == effective("--config", file)
    assert effective(FMA_CONFIG="") == effective()
    assert effective(FMA_CONFIG=str(file), FMA_TOKENS="")["tokens"] == '"/etc/tokens"'


def test_a_token_file_of_the_config_file_guards_the_server(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_bytes(b"\xef\xbb\xbf# with a byte-order mark\nalice " + b"0" * 64 + b"\n")
    file = tmp_path / "fma.toml"
    file.write_bytes(b"\xef\xbb\xbf" + f'tokens = "{tokens}"\n'.encode())
    with Service("--config", file, model=GOLDEN / "average", env={"FMA_TOKENS": "", "FMA_TLS_CERT": ""}) as running:
        assert f"authentication on: tokens of {tokens}" in running.log()
        assert "TLS off: no --tls-cert" in running.log()
        code, _, errors = running.run("models")
        assert code == 3 and "UNAUTHENTICATED" in errors
        assert running.stop() == 0


def test_what_is_off_is_said() -> None:
    with Service(model=GOLDEN / "average") as running:
        for line in (
            " warning security: authentication off: no --tokens, whoever can connect may call",
            " security: TLS off: no --tls-cert",
            " security: administrators none: no --admin-token-file",
        ):
            assert line in running.log()


def test_other_encodings_are_named(tmp_path: Path) -> None:
    file = tmp_path / "fma.toml"
    file.write_bytes("slots = 3\n".encode("utf-16"))
    done = server("--model", "m", "--config", file, "--print-config")
    assert done.returncode == 2 and "UTF-16" in done.stderr
    tokens = tmp_path / "tokens"
    tokens.write_bytes("alice x\n".encode("utf-16"))
    assert "UTF-16" in server("--model", GOLDEN / "average", "--tokens", tokens).stdout


def test_addresses_need_a_host_and_a_port() -> None:
    for flag in ("--listen", "--http"):
        for address in ("127.0.0.1", "localhost", ":80", "a:99999", "a:-1", "a:", "::1:80", "[::1]", "a:http"):
            done = server("--model", "m", flag, address, "--print-config")
            assert done.returncode == 2 and f'{flag}: address is "{address}"; allowed: HOST:PORT' in done.stderr
        for address in ("localhost:0", "[::1]:65535"):
            assert effective(flag, address)[flag.removeprefix("--")] == f'"{address}"'
    assert effective("--listen", "unix:/run/fma")["listen"] == '"unix:/run/fma"'


def test_wrong_configuration_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "fma.toml"
    for text, named in (
        ("slotz = 3", "slotz"),
        ("[engine]\nslots = 3", "[engine]"),
        ("slots = -1", "--slots"),
        ("slots = 1\nthreads = 2\nslots = 3", "--slots"),
        ("\n\nmodel = \"a", "line 3"),
    ):
        file.write_text(text)
        done = server("--model", "m", "--config", file)
        assert (done.returncode, named in done.stderr) == (2, True), done.stderr
    assert server("--model", "m", "--config", tmp_path / "missing").returncode == 2
    assert server("--model", "m", FMA_CONFIG=str(tmp_path / "missing")).returncode == 2
    assert "--slots" in server("--model", "m", FMA_SLOTS="many").stderr
