"""Weights of a checkpoint as float32, read by this test's own few lines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def read_floats(path: Path) -> dict[str, np.ndarray]:
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__")
    return {name: _floats(raw[8 + size :], entry) for name, entry in header.items()}


def _floats(data: bytes, entry: dict) -> np.ndarray:
    begin, end = entry["data_offsets"]
    kinds = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
    x = np.frombuffer(data[begin:end], kinds[entry["dtype"]]).reshape(entry["shape"])
    if entry["dtype"] == "BF16":
        return (x.astype(np.uint32) << 16).view(np.float32)
    return x.astype(np.float32)
