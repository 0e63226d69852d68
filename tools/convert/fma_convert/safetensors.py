"""The safetensors format: reading what others wrote, without trust, and writing ours in a stream.

A file is an 8-byte little-endian header length, a JSON header {name: {dtype, shape, data_offsets}}, and the tensors'
bytes without gaps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .elements import PLAIN, WRITTEN, plain_format
from .fields import parse_object
from .refusal import Refused, refusal, shown
from .source_file import SourceFile
from .tensor import StoredTensor, Tensor, rows_columns

_MAX_HEADER = 100_000_000
_SLICE_NUMBERS = 1 << 22  # 16 MiB in float32
_ALIGNMENT = 64


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file. Nothing of their data is read yet."""
    file = SourceFile(path)
    size = int.from_bytes(file.read(0, 8), "little") if file.size >= 8 else 0
    if not 2 <= size <= min(_MAX_HEADER, file.size - 8):
        raise refusal(f"{path}: header length", str(size), f"2 to {_MAX_HEADER} in a file of {file.size} bytes")
    header = parse_object(file.read(8, size), f"{path}: header")
    header.pop("__metadata__", None)
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: _span(path, *item)):
        begin, stop = _span(path, name, entry)
        if begin != end:
            raise refusal(f"{path}: tensor {shown(name)}: begin", f"{begin} (gap or overlap)", f"{end}")
        tensors[name] = _tensor(file, name, entry, 8 + size + begin, stop - begin)
        end = stop
    if 8 + size + end != file.size:
        raise refusal(f"{path}: bytes behind the header", str(file.size - 8 - size), f"{end}, those of its tensors")
    return tensors


def write_safetensors(path: Path, tensors: dict[str, tuple[Tensor, str]], written: Callable[[int], object]) -> None:
    """Writes tensors in the formats given, in order of their names; `written` is told of every slice's bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (tensor, kind) in sorted(tensors.items()):
        begin, end = end, end + math.prod(tensor.shape) * WRITTEN[kind]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    with path.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for _, (tensor, kind) in sorted(tensors.items()):
            rows, columns = rows_columns(tensor.shape)
            step = max(1, _SLICE_NUMBERS // (columns * tensor.step)) * tensor.step
            for start in range(0, rows, step):
                data = tensor.rows(start, min(start + step, rows), kind)
                out.write(data.tobytes())
                written(data.nbytes)


def _span(path: Path, name: str, entry: Any) -> tuple[int, int]:
    span = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(span, list) or len(span) != 2 or not all(type(s) is int and s >= 0 for s in span):
        raise refusal(f"{path}: tensor {shown(name)}: data_offsets", shown(span), "[begin, end]")
    return span[0], span[1]


def _tensor(file: SourceFile, name: str, entry: dict[str, Any], offset: int, size: int) -> StoredTensor:
    where = f"{file.path}: tensor {shown(name)}"
    kind, shape = entry.get("dtype"), entry.get("shape")
    if not isinstance(kind, str) or kind not in PLAIN:
        raise refusal(f"{where}: dtype", shown(kind), ", ".join(PLAIN))
    if not isinstance(shape, list) or len(shape) > 2 or not all(type(s) is int and s >= 1 for s in shape):
        raise refusal(f"{where}: shape", shown(shape), "one or two integers above 0")
    if math.prod(shape) * PLAIN[kind] != size or offset + size > file.size:
        raise Refused(f"{where}: shape {shown(shape)} of {kind} does not fit its {size} bytes")
    return StoredTensor(file, name, offset, tuple(shape), plain_format(kind))
