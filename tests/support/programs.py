"""The built programs and the data of the tests, for Python: everything runs as a user would run it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "build" / "release" / "bin"
GOLDEN = ROOT / "tests" / "data" / "golden"
DEMO_MODEL = ROOT / "models" / "fma-books-11m"


def run(*command: object) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'nobody' %}{{ raise_exception('nobody speaks') }}{% endif %}"
    "{{ m.role + ': ' + m.content + '\\n\\n' }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


def chat_model(folder: Path) -> Path:
    """The demo model in a new folder, with a chat template."""
    folder.mkdir()
    for file in DEMO_MODEL.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return folder


def hugging_face_folder(folder: Path) -> Path:
    """The demo model's tokenizer, in a new folder, as Hugging Face's libraries read it."""
    folder.mkdir()
    command = ["/usr/bin/python3", "-m", "fma_training.tokenizer_json", DEMO_MODEL / "tokenizer.model"]
    subprocess.run([*command, folder / "tokenizer.json"], cwd=ROOT / "training", check=True)
    config = json.loads((DEMO_MODEL / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": config["vocab_size"]}))
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template})
    )
    return folder


def wait_or_kill(process: subprocess.Popen[str]) -> int:
    """The exit code of a program that should end within a minute; a negative one if it did not."""
    try:
        return process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def port_in(log: Iterable[str]) -> str:
    """The port of a server whose lines of the log come; no more of them are taken than it needs."""
    for line in log:
        if found := re.search(r"listening on .*, port (\d+)", line):
            return found[1]
    pytest.fail("fma-server ended before it listened")


@contextmanager
def serve(model: Path, *flags: object, listen: str = "127.0.0.1:0") -> Iterator[str]:
    """HOST:PORT of a server of `model`; it must end with exit code 0 on SIGTERM."""
    command = [BIN / "fma-server", "--model", model, "--listen", listen, *flags]
    words = [str(word) for word in command]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        port = port_in(server.stdout)
        # Read the rest of the log: a full pipe would stop the server.
        threading.Thread(target=server.stdout.read, daemon=True).start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            code = wait_or_kill(server)
        assert code == 0
