"""Strict reading and writing of the safetensors format.

A file is an 8-byte little-endian header length, a JSON header {name: {dtype, shape, data_offsets}},
and the tensors' bytes without gaps.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .checks import Words, refusal

_TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_NAMES = {kind: name for name, kind in _TYPES.items()}
_MAX_HEADER = 100 << 20


class SafetensorsError(ValueError):
    """A file that is not a valid safetensors file of floating-point tensors."""


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, in the types in which they are stored."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    if not 2 <= size <= min(_MAX_HEADER, len(raw) - 8):
        raise SafetensorsError(
            refusal(f"{path}: header", Words(f"{size} bytes"), f"2 to {min(_MAX_HEADER, len(raw) - 8)}")
        )
    try:
        header = json.loads(raw[8 : 8 + size].decode("utf-8"), object_pairs_hook=_unique)
    except ValueError as error:
        raise SafetensorsError(f"{path}: {error}") from error
    if not isinstance(header, dict):
        raise SafetensorsError(refusal(f"{path}: header", Words(f"a {type(header).__name__}"), "an object"))
    header.pop("__metadata__", None)
    data = memoryview(raw)[8 + size :]
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: _span(path, *item)):
        begin, stop = _span(path, name, entry)
        if begin != end or not begin <= stop <= len(data):
            raise SafetensorsError(
                refusal(f"{path}: {name}: data_offsets", [begin, stop], f"from {end} on, up to {len(data)}")
            )
        tensors[name] = _tensor(path, name, entry, data[begin:stop])
        end = stop
    if end != len(data):
        raise SafetensorsError(refusal(f"{path}: end of the last tensor", end, f"{len(data)}, the end of the file"))
    return tensors


def save_safetensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Writes float tensors in their own types, in the order of their names."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)  # tensors start aligned
    with path.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            out.write(_bytes(tensors[name]))


def _tensor(path: Path, name: str, entry: dict[str, Any], data: memoryview) -> Tensor:
    kind, shape = _TYPES.get(str(entry.get("dtype"))), entry.get("shape")
    if kind is None:
        raise SafetensorsError(refusal(f"{path}: {name}: dtype", entry.get("dtype"), ", ".join(_TYPES)))
    if not isinstance(shape, list) or not all(type(s) is int and s >= 0 for s in shape):
        raise SafetensorsError(refusal(f"{path}: {name}: shape", shape, "a list of numbers, 0 or more"))
    width = 4 if kind is torch.float32 else 2
    if math.prod(shape) * width != len(data):
        raise SafetensorsError(refusal(f"{path}: {name}: size", Words(f"{len(data)} bytes"), f"those of shape {shape}"))
    if not data:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(bytearray(data), dtype=kind).reshape(shape)


def _bytes(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous()
    integers = torch.int32 if plain.element_size() == 4 else torch.int16  # numpy has no bfloat16
    little = np.dtype("<i4" if integers is torch.int32 else "<i2")
    return plain.view(integers).numpy().astype(little, copy=False).tobytes()


def _span(path: Path, name: str, entry: Any) -> tuple[int, int]:
    span = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(span, list) or len(span) != 2 or not all(type(s) is int and s >= 0 for s in span):
        raise SafetensorsError(refusal(f"{path}: {name}: data_offsets", span, "a list of two numbers, 0 or more"))
    return span[0], span[1]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise SafetensorsError(refusal("name in the header", Words("there twice"), "once"))
    return values
