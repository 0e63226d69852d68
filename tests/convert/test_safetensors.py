"""Foreign safetensors files, one thing wrong in each, and slices of every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from conftest import PRETRAINED
from floats import read_floats
from fma_convert.elements import QUANTISED, count_not_finite, encoded, gguf_format, plain_format
from fma_convert.refusal import Refused
from fma_convert.safetensors import read_safetensors, write_safetensors
from fma_convert.source import open_source
from fma_convert.source_file import SourceFile
from fma_convert.tensor import StoredTensor
from fma_convert.texts import Given
from folders import copied


def entry(begin: Any, end: Any, shape: Any, dtype: Any = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "header, size, message",
    [
        ({"a": 1}, 4, "data_offsets"),
        ([], 0, "a JSON object"),
        ({"a": entry(4, 8, [1])}, 8, r"begin is 4 \(gap or overlap\); allowed: 0"),
        ({"a": entry(0, 4, [1]), "b": entry(0, 4, [1])}, 8, "gap or overlap"),
        ({"a": entry(0, 8, [2])}, 4, "does not fit"),
        ({"a": entry(0, 4, [2])}, 4, "does not fit"),
        ({"a": entry(0, 4, [1 << 62, 4])}, 4, "does not fit"),
        ({"a": entry(0, 4, [-1])}, 4, "shape"),
        ({"a": entry(0, 4, [1.0])}, 4, "shape"),
        ({"a": entry(0, 4, [1, 1, 1])}, 4, "shape"),
        ({"a": entry(0, 4, [True])}, 4, "shape"),
        ({"a": entry(0, 4, [4], "F8_E4M3")}, 4, "dtype"),
        ({"a": entry(0, 4, [1], ["F32"])}, 4, "dtype"),
        ({"a": entry(True, 4, [1])}, 4, "data_offsets"),
        ({"a": entry(0, 4, [1])}, 6, "bytes behind the header is 6; allowed: 4"),
    ],
)
def test_bad_headers_are_refused(tmp_path: Path, header: Any, size: int, message: str) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "x").write_bytes(len(text).to_bytes(8, "little") + text + bytes(size))
    with pytest.raises(Refused, match=message):
        read_safetensors(tmp_path / "x")


@pytest.mark.parametrize("content", [b"", b"\1" * 8, (1 << 40).to_bytes(8, "little") + b"{}"])
def test_bad_lengths_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(Refused, match="header length"):
        read_safetensors(tmp_path / "x")


def test_no_change_of_a_header_does_more_than_refuse(tmp_path: Path) -> None:
    content = bytearray((PRETRAINED / "qwen3" / "model.safetensors").read_bytes())
    rng = np.random.default_rng(1)
    size = int.from_bytes(content[:8], "little")
    for _ in range(300):
        changed = bytearray(content)
        for place in rng.integers(0, 8 + size, 2):
            changed[place] = rng.integers(0, 256)
        (tmp_path / "x").write_bytes(changed)
        try:
            tensors = read_safetensors(tmp_path / "x")
        except Refused:
            continue
        for tensor in tensors.values():
            assert tensor.offset + tensor.format.row_bytes(1, "") <= len(content)


@pytest.mark.parametrize(
    "weight_map, message",
    [
        ({"a": "../x.safetensors"}, "in the same folder"),
        ({"a": "x.bin"}, "in the same folder"),
        ({"a": 3}, "in the same folder"),
        ({"a": "gone.safetensors"}, "No such file"),
        (None, '"weight_map" is missing'),
    ],
)
def test_bad_indices_are_refused(tmp_path: Path, weight_map: Any, message: str) -> None:
    folder = copied("llama3", tmp_path)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(Refused, match=message):
        open_source(folder, Given())


def test_index_and_shards_must_agree(tmp_path: Path) -> None:
    folder = copied("llama3", tmp_path)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    del index["weight_map"]["model.norm.weight"]
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(Refused, match="model.norm.weight.* is in one of the file and the index only"):
        open_source(folder, Given())


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_hidden_layers": 1}, "layers.1.* is not one of"),
        ({"num_hidden_layers": 3}, "layers.2.* is missing"),
        ({"vocab_size": 47}, r"embed_tokens.weight: shape is \[48, 16\]; allowed: \[47, 16\]"),
        ({"tie_word_embeddings": True}, ""),
        ({"attention_bias": True}, "q_proj.bias is missing"),
    ],
)
def test_tensors_are_those_of_the_config(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = copied("qwen3", tmp_path, **changes)
    if not message:
        assert "lm_head.weight" not in open_source(folder, Given()).tensors
        return
    with pytest.raises(Refused, match=message):
        open_source(folder, Given())


@pytest.mark.parametrize("number", [0, 1, 30, 8, 2, 3, 6, 7, 10, 11, 12, 13, 14, 20, 23])
def test_slices_of_every_format_are_the_whole(number: int, tmp_path: Path) -> None:
    element = gguf_format(number, "x")
    kind = gguf.GGMLQuantizationType(number)
    raw = finite_blocks(element.block, element.size, kind, 7 * 512 // element.block)
    (tmp_path / "x").write_bytes(b"head" + raw.tobytes())
    tensor = StoredTensor(SourceFile(tmp_path / "x"), "t", 4, (7, 512), element)
    whole = gguf.quants.dequantize(raw.reshape(7, -1).view(np.uint8), kind)
    for name in ("F32", "BF16"):
        slices = [tensor.rows(start, min(start + 3, 7), name) for start in (0, 3, 6)]
        assert np.array_equal(np.concatenate(slices), encoded(whole, name))
    assert tensor.kept_as == (element.name if element.plain else "BF16")


def test_every_quantised_format_is_tested() -> None:
    assert {gguf_format(number, "x").name for number in (8, 2, 3, 6, 7, 10, 11, 12, 13, 14, 20, 23)} == set(QUANTISED)


def finite_blocks(block: int, size: int, kind: gguf.GGMLQuantizationType, count: int) -> np.ndarray:
    """Random blocks, less those whose scales are no numbers."""
    raw = np.random.default_rng(size).integers(0, 256, (4 * count * max(1, 64 // block), size), np.uint8)
    with np.errstate(all="ignore"):
        values = gguf.quants.dequantize(raw, kind).reshape(len(raw), block)
    good = raw[(np.abs(values) < 1e6).all(1)]
    return good[:count]


def test_rounding_is_to_nearest_even() -> None:
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0x80000000, 0xC0FF8000], np.uint32)
    rounded = encoded(bits.view(np.float32), "BF16").view(np.uint16).tolist()
    assert rounded == [0x3F80, 0x3F82, 0x3F81, 0x3F80, 0x8000, 0xC100]


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_numbers_that_are_none_are_refused(name: str, value: float, tmp_path: Path) -> None:
    raw = encoded(np.array([[1, 2], [3, 65504], [5, 6]], np.float32), name)
    assert count_not_finite(raw, name) == 0
    bad = {"F32": np.float32, "F16": np.float16}.get(name, np.float32)(value)
    raw[1, : raw.shape[1] // 2] = np.frombuffer(bad.tobytes(), np.uint8)[-raw.shape[1] // 2 :]
    (tmp_path / "x").write_bytes(raw.tobytes())
    tensor = StoredTensor(SourceFile(tmp_path / "x"), "t", 0, (3, 2), plain_format(name))
    with pytest.raises(Refused, match="t: 1 numbers are infinite or NaN"):
        tensor.rows(0, 3, name)
    assert tensor.rows(2, 3, "F32").view("<f4").tolist() == [[5, 6]]


def test_what_float16_cannot_hold_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(np.array([1e5], "<f4").tobytes())
    tensor = StoredTensor(SourceFile(tmp_path / "x"), "t", 0, (1,), plain_format("F32"))
    with pytest.raises(Refused, match="infinite or NaN as F16"):
        tensor.rows(0, 1, "F16")


def test_a_file_that_shrinks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(100))
    file = SourceFile(tmp_path / "x")
    (tmp_path / "x").write_bytes(bytes(40))
    with pytest.raises(Refused, match="changed while it was read"):
        file.read(0, 100)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = PRETRAINED / "mistral" / "model.safetensors"
    told: list[int] = []
    write_safetensors(tmp_path / "x", {name: (t, "F32") for name, t in read_safetensors(path).items()}, told.append)
    ours, theirs = read_floats(tmp_path / "x"), read_floats(path)
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert sum(told) == sum(4 * x.size for x in ours.values())
