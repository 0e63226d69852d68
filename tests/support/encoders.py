"""Encoders for tests: the golden ones, which read token ids, and one that reads bytes."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from programs import GOLDEN

ENCODERS = GOLDEN.parent / "golden_encoders"


def case_of(name: str) -> dict[str, Any]:
    """Its `tokens` and the `embedding` of them."""
    return json.loads((ENCODERS / name / "case.json").read_text("utf-8"))


def byte_encoder(folder: Path, positions: int = 0) -> Path:
    """A model in a new folder: encoder_linear with rows for 256 bytes and a mask, id 256, in place of its 96 tokens."""
    folder.mkdir()
    config = json.loads((ENCODERS / "encoder_linear" / "config.json").read_text("utf-8"))
    config |= {"vocab_size": 257, "tokenizer": "bytes", "mask_token_id": 256}
    if positions:
        config["max_position_embeddings"] = positions
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    source = (ENCODERS / "encoder_linear" / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", source[:8])
    header, data = json.loads(source[8 : 8 + length]), source[8 + length :]
    parts: list[bytes] = []
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        begin, end = tensor["data_offsets"]
        part = data[begin:end]
        if tensor["shape"][0] == 96:  # a row for each token
            row = len(part) // 96
            part = b"".join(part[i % 96 * row :][:row] for i in range(257))
            tensor["shape"][0] = 257
        at = sum(map(len, parts))
        tensor["data_offsets"] = [at, at + len(part)]
        parts.append(part)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))
    return folder
