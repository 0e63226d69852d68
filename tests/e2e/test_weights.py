"""Weights as integers in blocks (--weights), through the programs: what they cost in quality, and who refuses them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from conftest import BIN, DEMO_MODEL, GOLDEN, ROOT, run
from service import Service

EXCERPT = ROOT / "tests" / "data" / "validation-excerpt.txt"
ANSWER = ("generate", "It was a", "--max-tokens", 20, "--temperature", 0, "--ignore-eos")


def bits_per_byte(weights: str) -> float:
    output = run(BIN / "fma-eval", "--model", DEMO_MODEL, "--text", EXCERPT, "--weights", weights)
    found = re.search(r"bits per byte\s+([\d.]+)", output)
    assert found is not None
    return float(found.group(1))


def test_bits_per_byte_of_the_demo_model() -> None:
    plain = bits_per_byte("as-is")
    assert plain == bits_per_byte("bf16"), "what the checkpoint has"
    assert abs(bits_per_byte("int8") / plain - 1) < 0.002
    assert abs(bits_per_byte("int4") / plain - 1) < 0.01


def test_a_server_answers_in_fewer_bytes() -> None:
    with Service() as plain, Service("--weights", "int4") as server:
        code, answer, _ = server.run(*ANSWER)
        assert code == 0 and len(answer.split()) > 3
        assert server.run(*ANSWER)[1] == answer
        bytes_of = [
            json.loads(each.run("models", "--json")[1].splitlines()[0])["weight_bytes"] for each in (plain, server)
        ]
        assert 0.32 < int(bytes_of[1]) / int(bytes_of[0]) < 0.34
        assert server.scrape()['fma_weights_bytes{model_name="fma-books-11m"}'] == int(bytes_of[1])


def test_sessions_belong_to_what_weights_were_rounded_to(tmp_path: Path) -> None:
    """bf16 rounds nothing of this checkpoint, so its sessions are those of the model as it is."""
    flags = ("--session-dir", tmp_path / "sessions", "--threads", 1)
    with Service(*flags) as server:
        assert server.run("sessions", "create", "tale")[0] == 0
        assert server.run("generate", "It was", "--max-tokens", 3, "--session", "tale")[0] == 0
        assert server.stop() == 0
    listed = {}
    for weights in ("int8", "bf16", "as-is"):
        with Service(*flags, "--weights", weights) as server:
            listed[weights] = "tale" in server.run("sessions", "list")[1]
            assert server.stop() == 0
    assert listed == {"int8": False, "bf16": True, "as-is": True}


def refusal(*words: object) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    return done.stdout + done.stderr


def test_refusals() -> None:
    case = GOLDEN / "modern_hierarchical"
    words = (BIN / "fma-eval", "--model", case, "--token-ids", case / "case.json")
    assert "as-is,bf16,int8,int4" in refusal(*words, "--weights", "int3")
