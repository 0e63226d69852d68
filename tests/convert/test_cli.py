"""The program: what it prints, what it leaves behind, what it never opens."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PRETRAINED
from folders import copied

MODEL = PRETRAINED / "qwen3"


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fma_convert", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_teaches() -> None:
    text = run("--help").stdout
    for word in "--near --rank --max-tokens --session-memory --novel --max-distance SmolLM3 GGUF".split():
        assert word in text


def test_it_tells_what_a_session_costs(tmp_path: Path) -> None:
    done = run(MODEL, tmp_path / "deep" / "out", "--near", 8, "--max-tokens", 64)
    assert done.returncode == 0 and done.stderr == ""
    assert "at least 8 of the newest tokens exactly, 4 chosen tokens for each older group on 2 levels" in done.stdout
    full = 2 * 8 * 4 * 2 * 2 * 64 / 1024
    assert f"{full:.1f} KiB" in done.stdout
    card = (tmp_path / "deep" / "out" / "README.md").read_text("utf-8")
    assert "| 64 | 16.0 KiB |" in card and "Qwen3ForCausalLM: 2 layers" in card


@pytest.mark.parametrize(
    "words, message",
    [
        (["--near", "8", "--session-memory", "1M"], "not allowed with"),
        (["--rank", "8", "--session-memory", "1M"], "not allowed with"),
        (["--session-memory", "many"], "is no size; allowed: bytes, or a number with K, M, G or T"),
        (["--max-tokens", "9T"], "allowed: up to 2^40"),
        (["--dtype", "int8"], "invalid choice"),
        (["--near", "1.5"], "is no size"),
    ],
)
def test_options_that_mean_nothing(words: list[str], message: str, tmp_path: Path) -> None:
    done = run(MODEL, tmp_path / "out", *words)
    assert done.returncode == 2 and message in done.stderr
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    done = run(MODEL, tmp_path / "out")
    assert done.returncode == 1 and "out is there already; allowed: a new folder, or an empty one" in done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]
    (tmp_path / "out" / "mine").unlink()
    assert run(MODEL, tmp_path / "out").returncode == 0


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    source = copied("qwen3", tmp_path)
    weights = source / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2:] = b"\x80\x7f"  # infinity
    weights.write_bytes(content)
    done = run(source, tmp_path / "out")
    assert done.returncode == 1 and "numbers are infinite or NaN" in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["qwen3"]


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("trap",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "x.pt", "model.ckpt"])
def test_pickles_are_not_opened(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = copied("qwen3", tmp_path)
    (source / "model.safetensors").unlink()
    (source / name).write_bytes(pickle.dumps(Trap()))
    for path in (source, source / name):
        done = run(path, tmp_path / "out")
        assert done.returncode == 1 and "a pickle, which may run code when it is loaded" in done.stderr
    assert not (tmp_path / "trap").exists()


def test_other_files(tmp_path: Path) -> None:
    config = MODEL / "config.json"
    for path, message in ((tmp_path / "gone", "No such"), (config, "no GGUF file"), (tmp_path, "config.json: No such")):
        done = run(path, tmp_path / "out")
        assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_hostile_names_do_not_reach_the_card(tmp_path: Path) -> None:
    source = copied("qwen3", tmp_path)
    evil = tmp_path / "a`]( <script>\n# b"
    source.rename(evil)
    assert run(evil, tmp_path / "out").returncode == 0
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert card.startswith("# a script b\n") and "<script>" not in card


def test_memory_does_not_grow_with_the_weights(tmp_path: Path) -> None:
    """A sparse file of 400 MB: 2 layers, 2,048 wide, a vocabulary of 32,000."""
    source = tmp_path / "big"
    big_folder(source, layers=2, width=2048, vocabulary=32000)
    weights = (source / "model.safetensors").stat().st_size
    assert weights > 380 << 20
    measure = (
        "import resource, sys; from fma_convert.cli import main; main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = [sys.executable, "-c", measure, str(source), str(tmp_path / "out")]
    peak = 1024 * int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
    assert peak < 200 << 20


def big_folder(folder: Path, layers: int, width: int, vocabulary: int) -> None:
    """A llama of zeros, in a file with no bytes of its own."""
    config = json.loads((PRETRAINED / "llama3" / "config.json").read_text("utf-8"))
    config |= {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers, "head_dim": 128}
    config |= {"num_attention_heads": width // 128, "num_key_value_heads": width // 128, "vocab_size": vocabulary}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {"model.embed_tokens.weight": [vocabulary, width], "model.norm.weight": [width]}
    for i in range(layers):
        layer = f"model.layers.{i}."
        shapes |= {f"{layer}self_attn.{x}_proj.weight": [width, width] for x in "qkvo"}
        shapes |= {f"{layer}mlp.{x}_proj.weight": [4 * width, width] for x in ("gate", "up")}
        shapes[f"{layer}mlp.down_proj.weight"] = [width, 4 * width]
        shapes |= {f"{layer}{x}_layernorm.weight": [width] for x in ("input", "post_attention")}
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * (shape[1] if len(shape) == 2 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
