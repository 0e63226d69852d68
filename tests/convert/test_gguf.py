"""GGUF files: the same checkpoint as from a Hugging Face folder, and hostile headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from conftest import PRETRAINED
from floats import read_floats
from fma_convert.elements import encoded
from fma_convert.gguf_file import GgufFile
from fma_convert.refusal import Refused
from fma_convert.source import open_source
from fma_convert.texts import Given
from folders import converted
from gguf_files import VOCABULARY, architecture_metadata, gguf_tensors, write_gguf, write_quantised

ARCHITECTURES = {
    "llama3": "llama",
    "llama_linear": "llama",
    "mistral": "llama",
    "qwen2_yarn": "qwen2",
    "qwen3": "qwen3",
    "smollm3": "smollm3",
}
LINEAR = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.0}
YARN = {
    "type": "yarn", "factor": 4.0, "original_context_length": 16, "yarn_beta_fast": 1.5, "yarn_beta_slow": 0.5,
}  # fmt: skip
EXTRA: dict[str, dict[str, Any]] = {
    "llama_linear": LINEAR,
    "qwen2_yarn": {f"qwen2.rope.scaling.{key}": value for key, value in YARN.items()},
    "mistral": {"llama.attention.sliding_window": 80},
}
OPTIONS = ("--near", "16", "--max-distance", "64", "--dtype", "float32")


def as_gguf(name: str, tmp_path: Path, **changes: Any) -> tuple[Path, dict[str, Any]]:
    """A GGUF file of one of the small models, and the config.json that it must become."""
    config = converted(PRETRAINED / name, tmp_path / "hf", *OPTIONS)
    arch = ARCHITECTURES[name]
    tensors = gguf_tensors(arch, config, tmp_path / "hf")
    if name == "llama3":
        tensors["rope_freqs.weight"] = np.array(config["rope_factors"], np.float32)
    metadata = {**architecture_metadata(arch, config), **EXTRA.get(name, {}), **VOCABULARY, **changes}
    metadata = {key: value for key, value in metadata.items() if value is not ...}
    write_gguf(tmp_path / "x.gguf", metadata, tensors)
    return tmp_path / "x.gguf", config


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_is_the_model_of_the_folder(name: str, tmp_path: Path) -> None:
    file, expected = as_gguf(name, tmp_path)
    config = converted(file, tmp_path / "out", *OPTIONS)
    for key in ("norm_eps", "rope_factors", "rope_attention_factor"):  # float32 in GGUF
        if key in expected:
            assert config.pop(key) == pytest.approx(expected.pop(key), rel=1e-6)
    assert config == expected
    ours, theirs = (read_floats(tmp_path / x / "model.safetensors") for x in ("out", "hf"))
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_quantised_weights_become_bfloat16(tmp_path: Path) -> None:
    kind = gguf.GGMLQuantizationType.Q4_1
    tensors = write_quantised(tmp_path / "x.gguf", kind)
    config = converted(tmp_path / "x.gguf", tmp_path / "out", "--near", "8")
    assert config["torch_dtype"] == "bfloat16"
    ours = read_floats(tmp_path / "out" / "model.safetensors")
    theirs = gguf.quants.dequantize(gguf.quants.quantize(tensors["blk.0.ffn_down.weight"], kind), kind)
    rounded = encoded(theirs, "BF16").view(np.uint16).astype(np.uint32) << 16
    assert np.array_equal(ours["model.layers.0.mlp.down_proj.weight"], rounded.view(np.float32))
    assert np.array_equal(ours["model.norm.weight"], tensors["output_norm.weight"])


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("llama3", {"general.architecture": "gemma"}, 'is "gemma"; allowed: llama, smollm3, qwen2, qwen3'),
        ("llama3", {"llama.expert_count": 8}, '"llama.expert_count" is 8; allowed: 0'),
        ("llama3", {"split.count": 2}, '"split.count" is 2'),
        ("llama3", {"llama.rope.dimension_count": 4}, '"llama.rope.dimension_count" is 4; allowed: 8'),
        ("llama3", {"llama.attention.value_length": 4}, "value_length"),
        ("llama3", {"llama.block_count": ...}, '"llama.block_count" is missing'),
        ("llama3", {"llama.block_count": 1}, "layers.1.* is not one of llama"),
        ("llama3", {"llama.block_count": 1 << 31}, "block_count"),
        ("llama3", {"llama.attention.head_count": 0}, "head_count"),
        ("llama3", LINEAR | {"llama.rope.scaling.type": "yarn"}, "rope_freqs.weight beside rope scaling"),
        ("llama_linear", {"llama.rope.scaling.type": "longrope"}, 'is "longrope"; allowed: none, linear, yarn'),
        ("llama_linear", {"llama.rope.scaling.factor": float("nan")}, "scaling.factor"),
        ("qwen2_yarn", {"qwen2.rope.scaling.yarn_log_multiplier": 0.1}, "yarn_log_multiplier"),
        ("qwen3", {"tokenizer.ggml.model": "bert"}, 'is "bert"; allowed: gpt2, llama, or --tokenizer'),
        ("qwen3", {"tokenizer.ggml.pre": "other"}, 'is "other"; allowed: gpt-2, smollm'),
        ("qwen3", {"tokenizer.ggml.merges": ["A Q Q"]}, 'merge "A Q Q" is not of two tokens'),
        ("qwen3", {"tokenizer.ggml.merges": ["ABC"]}, "merge"),
        ("qwen3", {"tokenizer.ggml.tokens": ["a"] * 48}, "a token twice"),
        ("qwen3", {"tokenizer.ggml.tokens": [f"t{i}" for i in range(49)]}, "49 tokens"),
        ("qwen3", {"tokenizer.ggml.token_type": [1] * 47}, "token_type"),
        ("qwen3", {"tokenizer.ggml.tokens": ["a" * 1025]}, "1025 characters; allowed: tokens of up to 1024"),
        ("qwen3", {"tokenizer.ggml.eos_token_id": 48}, "eos_token_id"),
    ],
)
def test_refused(name: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    file, _ = as_gguf(name, tmp_path, **changes)
    with pytest.raises(Refused, match=message):
        open_source(file, Given())


@pytest.mark.parametrize("name", ["blk.01.attn_v.weight", "blk.\u0661.attn_v.weight", "blk.0.attn_v.bias.weight", "x"])
def test_names_are_exact(name: str, tmp_path: Path) -> None:
    config = converted(PRETRAINED / "qwen3", tmp_path / "hf", *OPTIONS)
    tensors = gguf_tensors("qwen3", config, tmp_path / "hf") | {name: np.zeros((16, 16), np.float32)}
    write_gguf(tmp_path / "x.gguf", architecture_metadata("qwen3", config), tensors)
    with pytest.raises(Refused, match="no such tensor in qwen3"):
        open_source(tmp_path / "x.gguf", Given())


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return as_gguf("qwen3", tmp_path_factory.mktemp("gguf"))[0].read_bytes()


def header_size(content: bytes) -> int:
    return content.index(b"blk.1.ffn_up.weight") + 60


def test_every_cut_is_refused(content: bytes, tmp_path: Path) -> None:
    for end in [*range(0, header_size(content), 7), len(content) - 33, len(content) - 1]:
        (tmp_path / "x").write_bytes(content[:end])
        with pytest.raises(Refused):
            open_source(tmp_path / "x", Given())


def test_no_change_of_a_header_does_more_than_refuse(content: bytes, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    read = 0
    for _ in range(400):
        changed = bytearray(content)
        for place in rng.integers(0, header_size(content), 2):
            changed[place] = rng.integers(0, 256)
        (tmp_path / "x").write_bytes(changed)
        try:
            open_source(tmp_path / "x", Given())
            read += 1
        except Refused:
            pass
    assert read < 200


@pytest.mark.parametrize(
    "place, value, message",
    [
        (4, 1, "version is 1"),
        (4, 3 << 24, "version"),
        (8, 1 << 60, "1152921504606846976 entries"),
        (16, 1 << 60, "1152921504606846976 entries"),
        (24, 1 << 60, "entries at byte"),
    ],
)
def test_impossible_counts(place: int, value: int, message: str, content: bytes, tmp_path: Path) -> None:
    changed = bytearray(content)
    size = 4 if place == 4 else 8
    changed[place : place + size] = value.to_bytes(size, "little")
    (tmp_path / "x").write_bytes(changed)
    with pytest.raises(Refused, match=message):
        GgufFile(tmp_path / "x")


def test_tensors_may_not_overlap(content: bytes, tmp_path: Path) -> None:
    name = b"blk.1.ffn_up.weight"
    place = content.index(name) + len(name) + 4 + 16 + 4
    changed = bytearray(content)
    changed[place : place + 8] = bytes(8)
    (tmp_path / "x").write_bytes(changed)
    with pytest.raises(Refused, match="offset is 0; allowed: a multiple of 32"):
        GgufFile(tmp_path / "x")


def test_arrays_do_not_nest(tmp_path: Path) -> None:
    deep = b"".join(x.to_bytes(n, "little") for x, n in [(9, 4), *[(9, 4), (1, 8)] * 1000])
    head = b"GGUF" + b"".join(x.to_bytes(n, "little") for x, n in ((3, 4), (0, 8), (1, 8), (1, 8))) + b"k"
    (tmp_path / "x").write_bytes(head + deep)
    with pytest.raises(Refused, match="no array in an array"):
        GgufFile(tmp_path / "x")
