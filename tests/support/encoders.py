"""Encoders for tests: the golden ones, which read token ids, and one that reads bytes."""

from __future__ import annotations

import json
import math
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
    _write(folder, header, b"".join(parts))
    return folder


def attentive_encoder(folder: Path) -> Path:
    """A model of bytes whose one layer does little but attend: 32 heads see up to 1,536 tokens near by. Its weights are
    zeros."""
    folder.mkdir()
    config = json.loads((ENCODERS / "encoder_linear" / "config.json").read_text("utf-8"))
    config |= {"vocab_size": 257, "tokenizer": "bytes", "mask_token_id": 256, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 32, "num_key_value_heads": 1, "max_position_embeddings": 1 << 20}
    config["fma"] = {"group_size": 512, "rank": 2, "num_levels": 8, "downsampling": "average", "causal": False}
    config["fma"] |= {"scale_far_field": False, "padding": "masked"}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    layer = "model.layers.0."
    shapes = {"lm_head": [257, 32], "model.embed_tokens": [257, 32], "model.norm": [32]}
    shapes |= {f"{layer}{name}_layernorm": [32] for name in ("input", "post_attention")}
    shapes |= {f"{layer}mlp.{name}_proj": [64, 32] for name in ("gate", "up")} | {f"{layer}mlp.down_proj": [32, 64]}
    shapes |= {f"{layer}self_attn.{name}_proj": [8, 32] for name in "kv"}
    shapes |= {f"{layer}self_attn.q_proj": [256, 32], f"{layer}self_attn.o_proj": [32, 256]}
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        header[f"{name}.weight"] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    _write(folder, header, bytes(end))
    return folder


def _write(folder: Path, header: dict[str, Any], data: bytes) -> None:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
