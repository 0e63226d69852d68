"""Encoders through fma-eval: golden logits and embeddings, and what is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import BIN, GOLDEN, run
from test_golden import log_softmax

ENCODERS = GOLDEN.parent / "golden_encoders"
CASES = sorted(path.name for path in ENCODERS.iterdir())


def content(case: str) -> dict[str, Any]:
    return json.loads((ENCODERS / case / "case.json").read_text("utf-8"))


def evaluate(case: str, *options: object) -> str:
    folder = ENCODERS / case
    device = () if "--device" in options else ("--device", "cpu")
    return run(BIN / "fma-eval", "--model", folder, "--token-ids", folder / "case.json", *device, *options)


def logits_of(case: str, out: Path, *options: object) -> np.ndarray:
    evaluate(case, "--logits", out, *options)
    return np.load(out)


@pytest.mark.parametrize("case", CASES)
def test_logits_and_embedding_are_right(case: str, tmp_path: Path) -> None:
    golden = np.load(ENCODERS / case / "logits.npy")
    embedding = tmp_path / "embedding.npy"
    logits = logits_of(case, tmp_path / "logits.npy", "--embedding", embedding)
    assert logits.dtype == np.float32 and logits.shape == golden.shape
    assert np.abs(log_softmax(logits) - log_softmax(golden)).max() <= 1e-4
    found = np.load(embedding)
    assert found.dtype == np.float32 and found.shape == (1, len(content(case)["embedding"]))
    assert np.abs(found[0] - content(case)["embedding"]).max() <= 1e-5
    assert abs(np.linalg.norm(found) - 1) <= 1e-6


@pytest.mark.parametrize("case", CASES)
def test_neither_slices_nor_threads_change_a_bit(case: str, tmp_path: Path) -> None:
    whole = logits_of(case, tmp_path / "whole.npy")
    for options in (("--chunk", 1), ("--chunk", 7), ("--chunk", 1000), ("--threads", 1), ("--threads", 3)):
        assert np.array_equal(whole, logits_of(case, tmp_path / "other.npy", *options)), options


@pytest.mark.parametrize("case", CASES)
def test_a_window_is_a_text_of_its_own(case: str, tmp_path: Path) -> None:
    tokens = content(case)["tokens"]
    embeddings = tmp_path / "embeddings.npy"
    windows = logits_of(case, tmp_path / "windows.npy", "--context", 50, "--embedding", embeddings)
    assert np.load(embeddings).shape == (-(-len(tokens) // 50), len(content(case)["embedding"]))
    second = tmp_path / "second.json"
    second.write_text(json.dumps(tokens[50:100]), "utf-8")
    alone = tmp_path / "alone.npy"
    run(BIN / "fma-eval", "--model", ENCODERS / case, "--token-ids", second, "--logits", alone, "--device", "cpu")
    assert np.array_equal(np.load(alone), windows[50:100])


def test_hidden_tokens_are_guessed_one_at_a_time_or_many(tmp_path: Path) -> None:
    tokens = content("encoder_linear")["tokens"][:40]
    ids = tmp_path / "ids.json"

    def guesses(stride: int) -> tuple[str, np.ndarray]:
        ids.write_text(json.dumps(tokens), "utf-8")
        losses = tmp_path / "losses.npy"
        words = ("--token-ids", ids, "--hide-every", stride, "--losses", losses, "--device", "cpu")
        return run(BIN / "fma-eval", "--model", ENCODERS / "encoder_linear", *words), np.load(losses)

    def expected(stride: int) -> np.ndarray:
        losses = np.zeros(len(tokens))
        for hidden in range(min(stride, len(tokens))):
            masked = [95 if i % stride == hidden else token for i, token in enumerate(tokens)]
            ids.write_text(json.dumps(masked), "utf-8")
            out = tmp_path / "masked.npy"
            run(BIN / "fma-eval", "--model", ENCODERS / "encoder_linear", "--token-ids", ids, "--logits", out)
            row = log_softmax(np.load(out))
            for i in range(hidden, len(tokens), stride):
                losses[i] = -row[i, tokens[i]]
        return losses

    for stride in (7, 1000):
        printed, losses = guesses(stride)
        assert np.abs(losses - expected(stride)).max() <= 1e-5
        assert f"pseudo-perplexity     {np.exp(losses.astype(np.float64).mean()):.3f}" in printed


def refusal_of(*arguments: object) -> str:
    failed = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, timeout=60)
    assert failed.returncode != 0 and failed.stdout == ""
    return failed.stderr


@pytest.mark.parametrize(
    "options, message",
    [
        (("--mode", "decode"), '--mode is "decode"; allowed: prefill for an encoder'),
        (("--archive-dtype", "int8"), '--archive-dtype is "int8"; allowed: as-is for an encoder'),
        (("--cache-dtype", "bf16"), '--cache-dtype is "bf16"; allowed: f32 for an encoder'),
        (("--no-archive",), "--no-archive is set; allowed: not set for an encoder"),
        (("--losses", "losses.npy"), '--losses is "losses.npy"; allowed: not set for an encoder'),
    ],
)
def test_options_of_decoders_are_refused(options: tuple[str, ...], message: str) -> None:
    folder = ENCODERS / CASES[0]
    assert message in refusal_of(BIN / "fma-eval", "--model", folder, "--token-ids", folder / "case.json", *options)


@pytest.mark.parametrize("case", CASES)
def test_cuda_gives_the_golden_logits(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMA_CUDA_LIBRARY", str(BIN / "libfma_cuda_emulated.so"))
    golden = np.load(ENCODERS / case / "logits.npy")
    embedding = tmp_path / "embedding.npy"
    logits = logits_of(case, tmp_path / "logits.npy", "--embedding", embedding, "--device", "cuda:0")
    assert np.abs(log_softmax(logits) - log_softmax(golden)).max() <= 1e-4
    assert np.abs(np.load(embedding)[0] - content(case)["embedding"]).max() <= 1e-5


def test_a_decoder_has_no_embedding(tmp_path: Path) -> None:
    folder = GOLDEN / "modern_hierarchical"
    for option in (("--embedding", tmp_path / "out.npy"), ("--hide-every", 7)):
        arguments = ("--token-ids", folder / "case.json", *option)
        assert "not set for a decoder" in refusal_of(BIN / "fma-eval", "--model", folder, *arguments)


def test_too_many_tokens_for_learned_positions_are_refused(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps([1] * 129), "utf-8")
    folder = ENCODERS / "encoder_grouped_conv"
    assert "129" in refusal_of(BIN / "fma-eval", "--model", folder, "--token-ids", tokens)
