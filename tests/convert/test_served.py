"""Converted models in the server: the original library's logits, however tokens are fed, and over gRPC."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fma_client import Client
from fma_convert.cli import main
from programs import BIN, run, serve
from test_against_transformers import MODELS


def convert(source: Path, out: Path) -> None:
    main([str(source), str(out), "--near", "20", "--max-distance", "80"])  # two near groups hold the whole text


@pytest.mark.parametrize("source", MODELS, ids=lambda folder: folder.name)
def test_logits(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "out")
    expected = np.load(source / "logits.npy")
    for chunk in (1, 7, 64):
        run(
            BIN / "fma-eval", "--model", tmp_path / "out", "--token-ids", source / "tokens.json",
            "--logits", tmp_path / "logits.npy", "--chunk", chunk,
        )  # fmt: skip
        assert np.abs(np.load(tmp_path / "logits.npy") - expected).max() < 1e-4, chunk


def test_scores_over_grpc(tmp_path: Path) -> None:
    for source in MODELS:
        convert(source, tmp_path / source.name)
    first, *others = (tmp_path / source.name for source in MODELS)
    with serve(first, *(word for folder in others for word in ("--model", folder))) as address:
        for source in MODELS:
            tokens = json.loads((source / "tokens.json").read_text("utf-8"))
            logits = np.load(source / "logits.npy").astype(np.float64)
            expected = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
            with Client(address, model=source.name) as client:
                found = client.score(tokens, top_logprobs=1).tokens
            for t in range(1, len(tokens)):
                assert found[t].logprob == pytest.approx(expected[t - 1, tokens[t]], abs=1e-4), source.name
                assert found[t].top[0].token_id == expected[t - 1].argmax(), source.name
