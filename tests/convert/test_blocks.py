"""Weights as integers in blocks: GGUF's own bits, the server's rounding, and what both programs make of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from fma_convert.cli import main
from fma_convert.quantise import quantised
from fma_convert.source import open_source
from fma_convert.texts import Given
from gguf_files import gguf_name, write_gguf, write_quantised
from programs import BIN, DEMO_MODEL, run

KINDS = {"Q8_0": gguf.GGMLQuantizationType.Q8_0, "Q4_0": gguf.GGMLQuantizationType.Q4_0}
KINDS["Q4_1"] = gguf.GGMLQuantizationType.Q4_1
DTYPES = {"I8": np.int8, "U8": np.uint8, "F16": np.float16, "F32": np.float32, "BF16": np.uint16}


def read(folder: Path) -> dict[str, np.ndarray]:
    raw = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header: dict[str, Any] = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(raw[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def numbers(tensors: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Those of a weight in blocks, in float32, by the definition of docs/model.md."""
    codes = tensors[name]
    scales = tensors[f"{name}_scales"].astype(np.float32)[..., None]
    minima = tensors.get(f"{name}_minima")
    if codes.dtype == np.uint8:
        halves = codes.reshape(len(codes), -1, 16)
        codes = np.concatenate([halves & 15, halves >> 4], axis=2).astype(np.int32) - (8 if minima is None else 0)
    x = scales * codes.reshape(len(codes), -1, 32).astype(np.float32)
    if minima is not None:
        x = x + minima.astype(np.float32)[..., None]
    return x.reshape(len(codes), -1)


def logits(model: Path, tmp_path: Path, *options: object) -> np.ndarray:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps([i * 7 % 48 for i in range(60)]))
    run(BIN / "fma-eval", "--model", model, "--token-ids", tokens, "--logits", tmp_path / "logits.npy", *options)
    return np.load(tmp_path / "logits.npy")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wish", ["as-is", "int8"])
def test_blocks_of_gguf_keep_their_bits(kind: str, wish: str, tmp_path: Path) -> None:
    tensors = write_quantised(tmp_path / "x.gguf", KINDS[kind])
    main([str(tmp_path / "x.gguf"), str(tmp_path / "out"), "--near", "8", "--weights", wish])
    ours = read(tmp_path / "out")
    weights = [name for name in ours if f"{name}_scales" in ours]
    assert len(weights) == sum(x.ndim == 2 for x in tensors.values())
    for name in weights:
        theirs = gguf.quants.dequantize(gguf.quants.quantize(tensors[gguf_name(name)], KINDS[kind]), KINDS[kind])
        if "q_proj" in name or "k_proj" in name:  # rotary pairs are neighbours in GGUF
            theirs = theirs.reshape(-1, 4, 2, 32).swapaxes(1, 2).reshape(theirs.shape)
        assert np.array_equal(numbers(ours, name).view(np.uint32), theirs.view(np.uint32)), name
        assert (f"{name}_minima" in ours) == (kind == "Q4_1")


def test_a_gpu_reads_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_quantised(tmp_path / "x.gguf", KINDS["Q4_1"])
    main([str(tmp_path / "x.gguf"), str(tmp_path / "kept"), "--near", "8", "--weights", "as-is"])
    cpu = logits(tmp_path / "kept", tmp_path, "--device", "cpu")[0]
    monkeypatch.setenv("FMA_CUDA_LIBRARY", str(BIN / "libfma_cuda_emulated.so"))
    gpu = logits(tmp_path / "kept", tmp_path, "--device", "cuda:0")[0]
    assert np.abs(gpu - cpu).max() < 1e-3 * np.abs(cpu).max()


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1"])
def test_the_server_reads_them(kind: str, tmp_path: Path) -> None:
    """Of the copy in float32 only the server's rounding of activations to 8 bits sets them apart: little in the first
    row, where attention has nothing to choose. Later rows of a model of such large random weights turn on a hair."""
    write_quantised(tmp_path / "x.gguf", KINDS[kind])
    for name, options in (("kept", ("--weights", "as-is")), ("plain", ("--dtype", "float32"))):
        main([str(tmp_path / "x.gguf"), str(tmp_path / name), "--near", "8", *options])
    kept, plain = (logits(tmp_path / name, tmp_path)[0] for name in ("kept", "plain"))
    assert 0 < np.abs(kept - plain).max() < 0.03 * np.abs(plain).max()


def write_plain_copy(source: Path, out: Path) -> dict[str, np.ndarray]:
    """The numbers of a GGUF file in float32, which are returned, its matrices in bfloat16."""
    reader = gguf.GGUFReader(source)
    metadata = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    kinds = {name: gguf.GGMLQuantizationType.BF16 for name, tensor in tensors.items() if tensor.ndim == 2}
    write_gguf(out, metadata, tensors, kinds)
    return tensors


def test_int4_keeps_8_bits_at_both_ends_and_finds_the_integers_that_a_copy_had(tmp_path: Path) -> None:
    """Only the rounding of the copy to bfloat16 sets them apart: 2^-9 of the largest number of a block."""
    write_quantised(tmp_path / "x.gguf", KINDS["Q4_1"])
    tensors = write_plain_copy(tmp_path / "x.gguf", tmp_path / "copy.gguf")
    main([str(tmp_path / "copy.gguf"), str(tmp_path / "out"), "--near", "8", "--weights", "int4"])
    ours = read(tmp_path / "out")
    assert ours["model.embed_tokens.weight"].dtype == np.int8
    for name in [f"model.layers.0.{part}_proj.weight" for part in ("self_attn.v", "mlp.gate", "mlp.up", "mlp.down")]:
        assert f"{name}_minima" in ours, name
        off = np.abs(numbers(ours, name) - tensors[gguf_name(name)]).reshape(-1, 32).max(axis=1)
        assert (off < 2**-8 * np.abs(tensors[gguf_name(name)]).reshape(-1, 32).max(axis=1)).all(), name


@pytest.mark.parametrize("before", ["BF16", "Q4_1"])
@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_rounding_is_the_servers_bit_for_bit(kind: str, before: str, tmp_path: Path) -> None:
    write_quantised(tmp_path / "once.gguf", gguf.GGMLQuantizationType[before])
    write_plain_copy(tmp_path / "once.gguf", tmp_path / "x.gguf")
    for name, options in (("integers", ("--weights", kind)), ("plain", ())):
        main([str(tmp_path / "x.gguf"), str(tmp_path / name), "--near", "8", *options])
    has_minima = any(name.endswith("_minima") for name in read(tmp_path / "integers"))
    assert has_minima == (kind == "int4" and before == "Q4_1")
    written = logits(tmp_path / "integers", tmp_path)
    assert np.array_equal(written, logits(tmp_path / "plain", tmp_path, "--weights", kind))
    assert not np.array_equal(written, logits(tmp_path / "plain", tmp_path))


@pytest.mark.parametrize("kind, bound", [("int8", 0.007), ("int4", 0.1)])
def test_the_demo_model_rounds_well(kind: str, bound: float) -> None:
    raw = read(DEMO_MODEL)["model.layers.2.mlp.down_proj.weight"]
    x = (raw.astype(np.uint32) << 16).view(np.float32)
    parts = quantised(x, kind)
    dtype = np.int8 if kind == "int8" else np.uint8
    found = numbers({"w": parts.codes.view(dtype), "w_scales": parts.scales.view(np.float16)}, "w")
    assert np.sqrt(((found - x) ** 2).mean() / (x**2).mean()) < bound


def test_what_integers_cannot_hold_is_refused(tmp_path: Path) -> None:
    tensors = write_quantised(tmp_path / "x.gguf", gguf.GGMLQuantizationType.F32)
    tensors["blk.0.ffn_up.weight"][3, 4] = 1e8
    fields = gguf.GGUFReader(tmp_path / "x.gguf").fields.items()
    metadata = {key: field.contents() for key, field in fields if not key.startswith("GGUF.")}
    write_gguf(tmp_path / "y.gguf", metadata, tensors)
    with pytest.raises(SystemExit, match=r"up_proj.weight: a number is 1e\+08; allowed: up to 8.31901e\+06 in int8"):
        main([str(tmp_path / "y.gguf"), str(tmp_path / "out"), "--near", "8", "--weights", "int8"])
    assert not (tmp_path / "out").exists()


def test_scales_of_a_file_must_be_finite(tmp_path: Path) -> None:
    write_quantised(tmp_path / "x.gguf", KINDS["Q8_0"])
    content = bytearray((tmp_path / "x.gguf").read_bytes())
    place = open_source(tmp_path / "x.gguf", Given()).tensors["model.layers.0.mlp.up_proj.weight"].offset  # type: ignore[attr-defined]
    content[place : place + 2] = b"\x00\x7c"
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(SystemExit, match="1 scales or minima are infinite or NaN"):
        main([str(tmp_path / "x.gguf"), str(tmp_path / "out"), "--near", "8", "--weights", "as-is"])
