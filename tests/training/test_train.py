"""The trainer on a tiny model: it learns, resumes exactly, and its export is scored."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT
from fma_training import evaluate, export, train
from fma_training.checkpoint import load_model
from fma_training.config import FmaSettings
from fma_training.data import on_device, random_windows
from fma_training.model import FmaForMaskedLM
from fma_training.objective import hidden_tokens
from fma_training.optimizer import orthogonalise
from fma_training.schedule import Schedule
from fma_training.scoring import token_sizes, windows_of
from fma_training.tokenizer import ByteTokenizer, train_sentencepiece
from test_model import SMALL

BYTES = replace(
    SMALL, vocab_size=256, tie_word_embeddings=True, tokenizer="bytes", eos_token_id=0,
    fma=FmaSettings(8, 2, 6, share_levels=True, level_bias=True, far_positions="none"),
)  # fmt: skip


@pytest.fixture
def corpus(tmp_path: Path, prose: str) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "x-train-0.txt").write_text(prose, "utf-8")
    (folder / "x-valid.txt").write_text(prose[:3000], "utf-8")
    BYTES.save(folder)
    return folder


def run(corpus: Path, work: Path, steps: int, *extra: str) -> Path:
    words = ["--config", str(corpus / "config.json"), "--corpus", str(corpus), "--work", str(work)]
    sizes = ["--context", "64", "--batch", "4", "--micro-batch", "2", "--level-bias-columns", "2"]
    course = ["--steps", str(steps), "--decay-steps", "2", "--warmup-steps", "2", "--lr", "1e-2"]
    train.main([*words, *sizes, *course, *extra])
    return work


def state(work: Path) -> dict[str, torch.Tensor]:
    return torch.load(work / train.STATE_FILE)["model"]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resuming_equals_going_on(corpus: Path, tmp_path: Path, optimizer: str) -> None:
    whole = state(run(corpus, tmp_path / "a", 8, "--optimizer", optimizer))
    # Stopped after its first step, then resumed to the end.
    run(corpus, tmp_path / "b", 8, "--optimizer", optimizer, "--max-minutes", "0")
    assert torch.load(tmp_path / "b" / train.STATE_FILE)["step"] == 1
    resumed = state(run(corpus, tmp_path / "b", 8, "--optimizer", optimizer))
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())


def test_training_export_and_score(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = run(corpus, tmp_path / "run", 60, "--bf16", "--valid-windows", "4", "--valid-every", "30")
    lines = (work / train.LOG_FILE).read_text("utf-8").splitlines()
    validations = [float(line.split()[3]) for line in lines if "validation" in line]
    assert len(validations) == 2 and validations[1] < validations[0] < 8
    config = str(corpus / "config.json")
    export.main(["--work", str(work), "--config", config, "--out", str(tmp_path / "out")])
    capsys.readouterr()
    evaluate.main(["score", str(tmp_path / "out"), str(corpus / "x-valid.txt"), "--context", "64"])
    printed = capsys.readouterr().out
    assert "positions 0-7:" in printed and "all:" in printed
    out, text = str(tmp_path / "logits.npy"), str(corpus / "x-valid.txt")
    evaluate.main(["logits", str(tmp_path / "out"), text, out, "--context", "40"])
    assert np.load(out).shape == (40, 256)
    evaluate.main(["generate", str(tmp_path / "out"), "The ", "--tokens", "3"])
    assert capsys.readouterr().out.startswith("The ")


@pytest.mark.parametrize("kind", [{}, {"query_downsampling": True}], ids=["n log n", "n"])
def test_an_encoder_learns_what_was_hidden(corpus: Path, tmp_path: Path, kind: dict[str, bool]) -> None:
    settings = replace(BYTES.fma, causal=False, **kind)
    replace(BYTES, vocab_size=257, mask_token_id=256, fma=settings).save(corpus)
    work = run(corpus, tmp_path / "run", 40, "--valid-windows", "8", "--valid-every", "20")
    lines = (work / train.LOG_FILE).read_text("utf-8").splitlines()
    validations = [float(line.split()[3]) for line in lines if "validation" in line]
    # An untrained model needs 8 bits per byte.
    assert len(validations) == 2 and max(validations) < 6
    config, out = str(corpus / "config.json"), str(tmp_path / "out")
    export.main(["--work", str(work), "--config", config, "--out", out])
    model = load_model(tmp_path / "out")
    assert isinstance(model, FmaForMaskedLM) and model.config.mask_token_id == 256
    text = str(corpus / "x-valid.txt")
    evaluate.main(["logits", out, text, str(tmp_path / "logits.npy"), "--context", "40"])
    assert np.load(tmp_path / "logits.npy").shape == (40, 257)
    with pytest.raises(SystemExit, match="is an encoder"):
        evaluate.main(["score", out, text])


def test_an_encoder_needs_a_mask(corpus: Path, tmp_path: Path) -> None:
    replace(BYTES, fma=replace(BYTES.fma, causal=False)).save(corpus)
    with pytest.raises(ValueError, match="mask_token_id"):
        run(corpus, tmp_path / "run", 1)


def test_selected_tokens_can_be_trained(corpus: Path, tmp_path: Path) -> None:
    replace(BYTES, fma=FmaSettings(8, 3, 3, "select", sink_tokens=2, open_units=1, open_size=4)).save(corpus)
    work = run(corpus, tmp_path / "run", 20, "--bf16", "--valid-windows", "4", "--valid-every", "10")
    lines = (work / train.LOG_FILE).read_text("utf-8").splitlines()
    validations = [float(line.split()[3]) for line in lines if "validation" in line]
    assert len(validations) == 2 and validations[1] < validations[0] < 8


def test_what_bounds_memory_changes_nothing(corpus: Path, tmp_path: Path) -> None:
    kept = state(run(corpus, tmp_path / "kept", 3))
    made_again = state(run(corpus, tmp_path / "again", 3, "--checkpoint-layers", "--blocks-at-once", "2"))
    assert all(torch.allclose(made_again[name], tensor, atol=1e-4) for name, tensor in kept.items())


def test_hidden_tokens() -> None:
    tokens = torch.from_numpy(np.random.default_rng(1).integers(0, 50, (40, 200)))
    questions = hidden_tokens(tokens, np.random.default_rng(0), mask=50, vocab_size=51)
    assert questions.places is not None and questions.places.shape == (40, 30)
    assert torch.equal(tokens.gather(1, questions.places), questions.answers)
    assert all(len(set(row)) == 30 for row in questions.places.tolist())
    untouched = torch.ones_like(tokens, dtype=torch.bool).scatter(1, questions.places, False)
    assert torch.equal(questions.inputs[untouched], tokens[untouched])
    shown = questions.inputs.gather(1, questions.places)
    masked, same = (shown == 50).float().mean(), (shown == questions.answers).float().mean()
    assert 0.77 < masked < 0.84 and 0.08 < same < 0.14
    hidden = torch.arange(40 * 200.0).view(40, 200, 1)
    assert torch.equal(questions.asked(hidden).view(40, 30), hidden[..., 0].gather(1, questions.places))
    parts = questions.split(16)
    assert [len(part.inputs) for part in parts] == [16, 16, 8]
    assert torch.equal(torch.cat([part.answers for part in parts]), questions.answers)


def test_a_score_is_the_definitions(corpus: Path, tmp_path: Path) -> None:
    work = run(corpus, tmp_path / "run", 3)
    export.main(["--work", str(work), "--config", str(corpus / "config.json"), "--out", str(tmp_path / "out")])
    model, tokens = load_model(tmp_path / "out"), np.frombuffer(b"It was the best of times, it was", np.uint8)
    sizes = token_sizes(ByteTokenizer(), 256)
    scores = evaluate.score_by_position(model, tokens, sizes, 12, 2, [0, 8, 12])
    nats = 0.0
    for start in (0, 12, 24):
        window = torch.from_numpy(tokens[start : start + 12].astype(np.int64))
        with torch.no_grad():
            log_probability = model(window[None])[0].log_softmax(-1)
        nats -= sum(float(log_probability[i, window[i + 1]]) for i in range(len(window) - 1))
    assert sum(s.nats for s in scores) == pytest.approx(nats, rel=1e-5)
    assert [s.tokens for s in scores] == [8 + 8 + 7, 3 + 3]
    evaluate.remove_far_field(model)
    hidden = evaluate.score_by_position(model, np.tile(tokens, 3), sizes, 96, 1, [0, 96])
    assert np.isfinite(hidden[0].nats)


def test_a_tokenizer_is_needed_and_must_fit(corpus: Path, tmp_path: Path, prose: str) -> None:
    replace(BYTES, tokenizer=None).save(corpus)
    with pytest.raises(SystemExit, match="--tokenizer is missing"):
        run(corpus, tmp_path / "run", 1)
    train_sentencepiece([prose], tmp_path / "tokenizer.model", 400)
    with pytest.raises(SystemExit, match="400 ids"):
        run(corpus, tmp_path / "run", 1, "--tokenizer", str(tmp_path / "tokenizer.model"))


def test_windows_cover_the_text_once() -> None:
    tokens = np.arange(23)
    windows = list(windows_of(tokens, 5, 3))
    assert [w.shape for w in windows] == [(3, 5), (1, 5), (1, 3)]
    assert np.array_equal(np.concatenate([w.ravel() for w in windows]), tokens)


def test_schedule() -> None:
    schedule = Schedule(warmup_steps=4, decay=6)
    factors = [schedule.factor(step, left=20 - step) for step in range(20)]
    assert factors[0] == pytest.approx(0.2) and max(factors) == 1.0
    assert factors[4:15] == [1.0] * 11 and factors[15:] == sorted(factors[15:], reverse=True)
    assert factors[-1] == pytest.approx(1 / 6)


def test_minutes_are_the_end(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=lambda: 0.01 * next(ticks)))
    work = run(corpus, tmp_path / "run", 1, "--minutes", "0.03", "--decay-minutes", "0.02", "--log-every", "1")
    lines = [line.split() for line in (work / train.LOG_FILE).read_text("utf-8").splitlines()]
    rates = [float(line[line.index("lr") + 1]) for line in lines if "lr" in line]
    assert len(rates) > 4 and max(rates) == 1e-2 and rates[-1] < 2e-3
    assert lines[-1][2] == "validation"
    assert int(lines[-1][1]) == len(rates) == torch.load(work / train.STATE_FILE)["step"]


def test_windows_are_pieces_of_the_text() -> None:
    tokens = np.arange(65_000, 65_536, dtype=np.uint16)
    windows = random_windows(on_device(tokens, torch.device("cpu")), 50, 20, np.random.default_rng(0))
    assert windows.shape == (50, 21) and windows.min() >= 65_000
    assert torch.equal(windows, windows[:, :1] + torch.arange(21))
    with pytest.raises(ValueError, match="text is 536 tokens; allowed: "):
        random_windows(on_device(tokens, torch.device("cpu")), 1, 536, np.random.default_rng(0))


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)])
def test_orthogonalised_singular_values_are_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.stack([torch.randn(shape), 100 * torch.randn(shape)])
    for values in torch.linalg.svdvals(orthogonalise(matrices)):
        assert 0.5 < values.median() < 1.4 and values.max() < 1.5


def test_the_recipe_for_a_gpu_goes_on_where_it_was(corpus: Path, tmp_path: Path) -> None:
    work = run(corpus, tmp_path / "run", 1, "--level-bias-columns", "6", "--optimizer", "muon")
    (work / "tokenizer.model").touch()  # would be trained; a config of bytes needs none
    place = {**os.environ, "CONFIG": str(corpus / "config.json"), "PYTHON": sys.executable}
    small = "--context 64 --batch 2 --micro-batch 1 --no-bf16 --no-compile --max-steps 1".split()
    recipe = [str(ROOT / "training" / "gpu-recipe"), str(corpus), str(work), *small]
    done = subprocess.run(recipe, env=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "step 1 resumed\nstep 2 stopped" in done.stdout
    assert load_model(work / "model").config == BYTES
