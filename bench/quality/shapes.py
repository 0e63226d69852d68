"""What a model keeps of a text, by a short name, and the checkpoint folder that keeps just that.

    full           every token, exactly
    window:W       4 sinks and the newest tokens, W in all, and nothing else
    M/P            `select` with group size M and rank P, as deep as the text asks for
    M/P,novel=R    with R of the P by novelty, in place of half of them
    M/P,distance=C with `max_distance` C, in place of the trained length
    M/P,open=B     with an archive, of which each query opens B units

A folder links to the weights of the converted model and has a config of its own.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LARGEST_GROUP = 4096
SINKS = 4
HIDDEN = -1e4  # a level bias that leaves nothing of an entry's weight in the softmax
BIAS_FILE = "level_bias.safetensors"

Fma = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """One of the names above; `fma` says what it means for a text of `tokens` tokens."""

    name: str

    def fma(self, tokens: int, trained: int) -> Fma:
        kind, *options = self.name.split(",")
        if kind == "full":
            return _full(tokens)
        if kind.startswith("window:"):
            return _window(int(kind.removeprefix("window:")), trained)
        group, rank = (int(number) for number in kind.split("/"))
        keys = {"novel": "select_novel", "distance": "max_distance", "open": "open_units"}
        given = dict(option.split("=") for option in options)
        return _select(group, rank, tokens, trained) | {keys[key]: int(value) for key, value in given.items()}


def _select(group: int, rank: int, tokens: int, distance: int) -> Fma:
    levels = 1
    while 4 * group << (levels - 1) < tokens:
        levels += 1
    return {"group_size": group, "rank": rank, "num_levels": levels, "max_distance": distance}


def _window(entries: int, distance: int) -> Fma:
    """A level cannot be left out, so it has one token, and a bias hides it."""
    group = (entries - SINKS) // 2
    return _select(group, 1, 1, max(distance, 4 * group)) | {"level_bias": True}


def _full(tokens: int) -> Fma:
    """Within two groups all is near. Up to four, all but a group's first four tokens are chosen."""
    if tokens > 4 * LARGEST_GROUP:
        raise ValueError(f"full attention over {tokens} tokens; allowed: up to {4 * LARGEST_GROUP}")
    if tokens <= 2 * LARGEST_GROUP:
        return _select(max(64, (tokens + 1) // 2), 1, tokens, 0)
    return _select(LARGEST_GROUP, LARGEST_GROUP - SINKS, tokens, 0) | {"select_novel": 0}


def write_folder(model: Path, shape: Shape, tokens: int, folder: Path) -> Path:
    """`model`, in another shape."""
    config = json.loads((model / "config.json").read_text("utf-8"))
    constant = {key: value for key, value in config["fma"].items() if key not in ("open_units", "open_size")}
    config["fma"] = constant | shape.fma(tokens, config["max_position_embeddings"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1), "utf-8")
    if config["fma"].get("level_bias"):
        _write_bias(model, config, folder)
        _link(model / "model.safetensors", folder / "weights.safetensors")
    else:
        _link(model / "model.safetensors", folder / "model.safetensors")
    return folder


def _link(target: Path, link: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target.resolve())


def _write_bias(model: Path, config: dict[str, Any], folder: Path) -> None:
    """A second shard with the biases, and the index of both."""
    heads = config["num_attention_heads"]
    names = [f"model.layers.{i}.self_attn.level_bias.weight" for i in range(config["num_hidden_layers"])]
    tensors = {
        name: {"dtype": "F32", "shape": [heads, 1], "data_offsets": [4 * heads * i, 4 * heads * (i + 1)]}
        for i, name in enumerate(names)
    }
    header = json.dumps(tensors).encode()
    data = np.full(heads * len(names), HIDDEN, np.float32).tobytes()
    (folder / BIAS_FILE).write_bytes(struct.pack("<Q", len(header)) + header + data)
    files = dict.fromkeys(_tensor_names(model / "model.safetensors"), "weights.safetensors")
    index = {"metadata": {}, "weight_map": files | dict.fromkeys(names, BIAS_FILE)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")


def _tensor_names(file: Path) -> list[str]:
    with file.open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(size))
    return [name for name in header if name != "__metadata__"]
