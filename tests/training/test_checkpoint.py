"""The safetensors module and checkpoint folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fma_training.checkpoint import load_model, load_tensors, save_model
from fma_training.safetensors_io import SafetensorsError, load_safetensors, save_safetensors
from test_model import SMALL, random_model


def test_round_trip_of_all_types(tmp_path: Path) -> None:
    tensors = {
        "a": torch.randn(3, 5),
        "b.c": torch.randn(4).half(),
        "d": torch.randn(2, 1, 3).bfloat16(),
        "none": torch.empty(0, 4),
        "turned": torch.randn(3, 2).t(),
    }
    save_safetensors(tmp_path / "x", tensors)
    loaded = load_safetensors(tmp_path / "x")
    assert loaded.keys() == tensors.keys()
    assert all(loaded[n].dtype == t.dtype and torch.equal(loaded[n], t) for n, t in tensors.items())


def entry(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "header, size, message",
    [
        ('{"a":1}', 4, "data_offsets is null; allowed: "),
        ("[]", 0, "header is a list; allowed: an object"),
        ('{"a"', 0, "Expecting"),
        ('{"a":{},"a":{}}', 0, "twice"),
        (json.dumps({"a": entry(4, 8, [1])}), 8, r"is \[4, 8\]; allowed: from 0 on"),
        (json.dumps({"a": entry(0, 4, [1]), "b": entry(0, 4, [1])}), 8, r"is \[0, 4\]; allowed: from 4 on"),
        (json.dumps({"a": entry(0, 8, [2])}), 4, r"is \[0, 8\]; allowed: from 0 on, up to 4"),
        (json.dumps({"a": entry(0, 4, [2])}), 4, "size is 4 bytes; allowed: "),
        (json.dumps({"a": entry(0, 4, [-1])}), 4, r"shape is \[-1\]; allowed: "),
        (json.dumps({"a": entry(0, 4, [1], "I32")}), 4, 'dtype is "I32"; allowed: '),
        (json.dumps({"a": entry(0, 4, [1])}), 6, "end of the last tensor is 4; allowed: 6"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, header: str, size: int, message: str) -> None:
    text = header.encode()
    (tmp_path / "x").write_bytes(len(text).to_bytes(8, "little") + text + bytes(size))
    with pytest.raises(SafetensorsError, match=message):
        load_safetensors(tmp_path / "x")


def test_header_longer_than_the_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    with pytest.raises(SafetensorsError, match="header is 1099511627776 bytes; allowed: 2 to 2"):
        load_safetensors(tmp_path / "x")


def test_model_folder_round_trip(tmp_path: Path) -> None:
    model = random_model(SMALL)
    save_model(tmp_path, SMALL, model.state_dict(), "float32")
    tokens = torch.randint(0, SMALL.vocab_size, (1, 50))
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path)(tokens), model(tokens))
    save_model(tmp_path, SMALL, model.state_dict(), "bfloat16")
    assert all(t.dtype == torch.bfloat16 for t in load_tensors(tmp_path).values())
    rounded = load_model(tmp_path).state_dict()
    assert all(torch.equal(rounded[n], t.bfloat16().float()) for n, t in model.state_dict().items())


def test_shards(tmp_path: Path) -> None:
    save_safetensors(tmp_path / "one", {"a": torch.ones(2)})
    save_safetensors(tmp_path / "two", {"b": torch.zeros(2)})
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one", "b": "two"}}))
    assert load_tensors(tmp_path).keys() == {"a", "b"}
    index.write_text(json.dumps({"weight_map": {"a": "../one"}}))
    with pytest.raises(ValueError, match="plain file name"):
        load_tensors(tmp_path)
