"""What is installed and packed works where it is put, and says what the programs say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from conftest import BIN, DEMO_MODEL, ROOT, run
from programs import serve
from service import Service

BUILD = BIN.parent
VERSION = re.search(r"^project\(\w+ VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text(), re.M)[1]
PROGRAMS = ("fma", "fma-server")


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `cmake --install` puts the programs and the client library."""
    folder = tmp_path_factory.mktemp("installed")
    for component in ("programs", "dev"):
        run("cmake", "--install", BUILD, "--prefix", folder, "--component", component)
    return folder


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What CPack makes: Debian packages and a tarball."""
    folder = tmp_path_factory.mktemp("packed")
    run("cpack", "--config", BUILD / "CPackConfig.cmake", "-G", "DEB;TGZ", "-B", folder)
    return folder


def unpacked(package: Path, folder: Path) -> Path:
    run("dpkg-deb", "-x", package, folder)
    return folder


def test_every_program_tells_the_projects_version(demo_server: str) -> None:
    for name in PROGRAMS:
        assert run(BIN / name, "--version") == f"{name} {VERSION}\n"
    assert json.loads(run(BIN / "fma", "models", "--json", "--server", demo_server))["server_version"] == VERSION


def test_a_project_of_somebody_else_finds_the_client(prefix: Path, tmp_path: Path, demo_server: str) -> None:
    moved = tmp_path / "moved"  # nothing in it may know where it was installed
    shutil.copytree(prefix, moved)
    run("cmake", "-S", ROOT / "tests/packaging/consumer", "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={moved}")
    run("cmake", "--build", tmp_path / "build")
    found = run(tmp_path / "build" / "consumer", demo_server)
    words = ("generate", "It was a dark", "-n", 5, "--temperature", 0, "--json", "--server", demo_server)
    events = [json.loads(line) for line in run(BIN / "fma", *words).splitlines()]
    tokens = [token for event in events for token in event.get("token_ids", [])]
    assert found == " ".join(map(str, tokens)) + " OK\n"


def test_the_tarball_runs_in_any_folder(packed: Path, tmp_path: Path) -> None:
    """With relative paths, beside nothing of the build; the CUDA backend is looked for in its own lib/."""
    (tarball,) = packed.glob("*.tar.gz")
    run("tar", "-xzf", tarball, "-C", tmp_path)
    (folder,) = tmp_path.iterdir()
    assert folder.name == tarball.name.removesuffix(".tar.gz")
    moved = tmp_path / "a b"
    folder.rename(moved)
    Authority.create(moved / "pki").issue("fma.internal")
    (moved / "tokens").write_text("")
    (moved / "lib").mkdir(exist_ok=True)
    (moved / "lib" / "libfma_cuda.so").write_text("not a library")
    tls = ("--tls-cert", "pki/fma.internal.pem", "--tls-key", "pki/fma.internal.key")
    model = f"share/fma-server/models/{DEMO_MODEL.name}"
    with Service("--threads", 1, *tls, program="bin/fma-server", model=model, cwd=moved) as server:
        words = ["health", "--server", server.address, "--tls-ca", "pki/ca.pem"]
        answer = subprocess.run(["bin/fma", *words], cwd=moved, capture_output=True, text=True, check=False)
        assert (answer.returncode, answer.stdout) == (0, "SERVING\n"), answer.stderr
        assert server.stop() == 0
        assert re.search(r"no GPU: cannot load the CUDA backend: .*/a b/lib/libfma_cuda\.so", server.log())


def test_debian_packages(packed: Path, tmp_path: Path) -> None:
    packages = {file.name.split("_")[0]: file for file in packed.glob("*.deb")}
    assert set(packages) == {"fma-server", "fma-model-books-11m", "libfma-client-dev"}
    for file in packages.values():
        assert run("dpkg-deb", "-f", file, "Version").strip() == VERSION
    depends = run("dpkg-deb", "-f", packages["fma-server"], "Depends")
    assert "libgrpc++" in depends and "libc6" in depends and "-dev" not in depends
    root = unpacked(packages["fma-server"], tmp_path / "root")
    model = unpacked(packages["fma-model-books-11m"], tmp_path / "root") / "usr/share/fma-server/models"
    assert run(root / "usr/bin/fma", "--version") == f"fma {VERSION}\n"
    assert "slots=64" in run(root / "usr/bin/fma-server", "--model", model / DEMO_MODEL.name, "--print-config")
    assert (root / "lib/systemd/system/fma-server.service").exists() or (
        root / "usr/lib/systemd/system/fma-server.service"
    ).exists()
    dev = unpacked(packages["libfma-client-dev"], tmp_path / "dev") / "usr"
    assert (dev / "include/fma_client/client.h").is_file() and (dev / "lib/libfma_client.a").is_file()
    assert not list(dev.rglob("bin/*"))


def options(*command: str) -> set[str]:
    """The long options that --help of a command lists."""
    return set(re.findall(r"^  (?:-\w,)?(--[\w-]+)", run(BIN / command[0], *command[1:], "--help"), re.M))


COMMANDS = [
    ("fma-server",), ("fma",), ("fma", "generate"), ("fma", "chat"), ("fma", "score"), ("fma", "sessions"),
    ("fma", "sessions", "update"), ("fma", "admin", "load"),
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_man_pages_say_what_help_says(prefix: Path, program: str) -> None:
    page = prefix / "share/man/man1" / f"{program}.1"
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-P-cbou", page], capture_output=True, check=True)
    assert done.stderr == b""
    text = done.stdout.decode().replace("‐", "-").replace("−", "-")
    for command in COMMANDS:
        if command[0] == program:
            missing = {option for option in options(*command) if option not in text}
            assert not missing
    assert f"FMA Server {VERSION}" in text


def bash_completes(prefix: Path, *words: str) -> list[str]:
    """What bash offers for the last word."""
    file = prefix / "share/bash-completion/completions" / words[0]
    script = """source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_${1//-/_}; printf "%s\\n" "${COMPREPLY[@]}"
"""
    return run("bash", "-c", script, "-", file, *words).split()


def fish_completes(prefix: Path, *words: str) -> list[str]:
    file = prefix / "share/fish/vendor_completions.d" / f"{words[0]}.fish"
    line = " ".join(words)
    output = run("fish", "--no-config", "-c", f"source {file}; complete -C '{line}'")
    return [candidate.split("\t")[0] for candidate in output.splitlines()]


def zsh_completes(prefix: Path, *words: str) -> list[str]:
    """Types the words and a tab at a zsh in a pseudo terminal."""
    script = """
zmodload zsh/zpty
zpty shell 'PS1=; TERM=dumb zsh -f -i'
zpty -w shell 'unset zle_bracketed_paste; LISTMAX=0; fpath=('$1' $fpath); autoload -U compinit; compinit -u -D'
zpty -w shell "zstyle ':completion:*' list-grouped false; zstyle ':completion:*' format ''"
zpty -w shell 'bindkey "^I" complete-word; bindkey "^D" list-choices; setopt ignore_eof'
zpty -w shell 'zle-line-init() { print -r -- "BE""GIN" }; zle -N zle-line-init'
zpty -r shell out '*BEGIN*'
zpty -w -n shell "$2"$'\\C-D'
zpty -w -n shell $'\\C-U'$'print -r -- "E""ND"\\n'
zpty -r shell out '*END*'
print -r -- $out
"""
    output = run("zsh", "-f", "-c", script, "-", prefix / "share/zsh/vendor-completions", " ".join(words))
    return re.findall(r"[\w-]+", output)


SHELLS = {"bash": bash_completes, "fish": fish_completes, "zsh": zsh_completes}


@pytest.fixture(params=SHELLS)
def completes(request: pytest.FixtureRequest, prefix: Path) -> Iterator[object]:
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param}")
    yield lambda *words: SHELLS[request.param](prefix, *words)


def test_shells_complete_commands_options_and_values(completes) -> None:
    assert {"generate", "score", "sessions"} <= set(completes("fma", ""))
    assert {"generate"} == {word for word in completes("fma", "gen") if word.startswith("gen") and word != "gen"}
    assert {"create", "rewind", "export"} <= set(completes("fma", "sessions", ""))
    assert "--unpin" in completes("fma", "sessions", "update", "--un")
    assert "--max-tokens" in completes("fma", "generate", "--max")
    assert "--max-tokens" not in completes("fma", "score", "--max")
    assert {"f32", "bf16"} <= set(completes("fma-server", "--cache-dtype", ""))
    assert "--session-dir" in completes("fma-server", "--session-d")


def test_bash_completes_every_option(prefix: Path) -> None:
    for command in COMMANDS:
        assert options(*command) <= set(bash_completes(prefix, *command, "--")), command


def test_bash_completes_files_and_folders(prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file.pem").write_text("")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    assert bash_completes(prefix, "fma", "models", "--tls-ca", "f") == ["file.pem", "folder"]
    assert bash_completes(prefix, "fma-server", "--session-dir", "f") == ["folder"]
    assert os.listdir(tmp_path)


def test_an_installed_server_serves(prefix: Path) -> None:
    assert (prefix / "bin" / "fma-server").is_file()
    with serve(DEMO_MODEL, "--threads", 1) as address:
        assert run(prefix / "bin" / "fma", "health", "--server", address) == "SERVING\n"
