"""A pretrained model on disk: a Hugging Face folder or a GGUF file, read and checked as far as headers go."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .decoder import Decoder
from .fields import Fields, parse_object
from .gguf_file import MAGIC, GgufFile
from .gguf_model import our_tensors, read_decoder
from .gguf_texts import gguf_texts
from .hf_config import read_config
from .refusal import Refused, refusal, shown
from .safetensors import read_safetensors
from .source_file import SourceFile, read_whole
from .tensor import StoredTensor, Tensor, ZeroTensor
from .texts import Given, Texts, folder_texts, refuse_pickles

_MAX_CONFIG = 16 << 20
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = (b"\x80", b"PK\x03\x04")
# Buffers that older files carry; the frequencies follow from the config.
_IGNORED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")


@dataclass(frozen=True)
class Source:
    """`tensors` are those of our checkpoint, with their shapes."""

    path: Path
    kind: str
    decoder: Decoder
    tensors: dict[str, Tensor]
    texts: Texts
    licence: str | None


def open_source(path: Path, given: Given) -> Source:
    return _open_folder(path, given) if path.is_dir() else _open_file(path, given)


def _open_folder(folder: Path, given: Given) -> Source:
    config_file = folder / "config.json"
    decoder = read_config(parse_object(read_whole(config_file, _MAX_CONFIG), str(config_file)), str(config_file))
    tensors = {name: x for name, x in _folder_tensors(folder).items() if not _IGNORED.fullmatch(name)}
    if decoder.tied:
        tensors.pop("lm_head.weight", None)  # the embeddings once more
    texts = folder_texts(folder, decoder.vocab_size, given)
    eos = texts.generation.get("eos_token_id")
    more = eos if isinstance(eos, list) else [] if eos is None else [eos]
    decoder = replace(decoder, eos=sorted({*decoder.eos, *more}))
    return Source(folder, "a Hugging Face folder", decoder, _complete(tensors, decoder, folder), texts, None)


def _open_file(path: Path, given: Given) -> Source:
    file = SourceFile(path)
    start = file.read(0, min(4, file.size))
    if start.startswith(_PICKLES):
        raise refusal(str(path), "a pickle, which may run code when it is loaded", "safetensors or GGUF")
    if start != MAGIC:
        raise refusal(str(path), "no GGUF file", "a GGUF file, or a folder with config.json and model.safetensors")
    gguf = GgufFile(path)
    decoder = read_decoder(gguf, str(path))
    tensors = _complete(our_tensors(gguf, decoder), decoder, path)
    licence = gguf.metadata.get("general.license")
    texts = gguf_texts(Fields(gguf.metadata, str(path)), decoder, given)
    return Source(path, "a GGUF file", decoder, tensors, texts, licence if isinstance(licence, str) else None)


def _folder_tensors(folder: Path) -> dict[str, StoredTensor]:
    if (folder / _WEIGHTS).exists():
        return read_safetensors(folder / _WEIGHTS)
    index = folder / _INDEX
    if not index.exists():
        refuse_pickles(folder, sorted(entry.name for entry in folder.iterdir()))
    shard_of = Fields(parse_object(read_whole(index, 100 << 20), str(index)), str(index)).child("weight_map")
    if shard_of is None:
        raise refusal(f'{index}: "weight_map"', "missing", "an object of tensor name to file name")
    shards: dict[str, set[str]] = {}
    for name, shard in shard_of.members.items():
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise shard_of.refuse(name, shown(shard), "the name of a .safetensors file in the same folder")
        shards.setdefault(shard, set()).add(name)
    tensors: dict[str, StoredTensor] = {}
    for shard, names in sorted(shards.items()):
        found = read_safetensors(folder / shard)
        if found.keys() != names:
            odd = min(found.keys() ^ names)
            raise Refused(f"{folder / shard}: tensor {shown(odd)} is in one of the file and the index only")
        tensors |= found
    return tensors


def _complete(found: Mapping[str, StoredTensor], decoder: Decoder, origin: Path) -> dict[str, Tensor]:
    """Every tensor that the decoder has, with its shape, and no other."""
    shapes = decoder.tensor_shapes()
    tensors: dict[str, Tensor] = {}
    for name in sorted(found.keys() - shapes.keys()):
        raise Refused(f"{origin}: tensor {shown(name)} is not one of {decoder.architecture} as its config describes it")
    for name, shape in shapes.items():
        tensor = found.get(name)
        if tensor is None and name.endswith("o_proj.bias") and not decoder.output_bias:
            tensors[name] = ZeroTensor(shape, found[name.replace("o_proj", "q_proj")].kept_as)
            continue
        if tensor is None:
            raise Refused(f"{origin}: tensor {name} is missing")
        if tensor.shape != shape:
            raise refusal(f"{tensor.where}: shape", shown(tensor.shape), f"{list(shape)}, as its config says")
        tensors[name] = tensor
    return tensors
