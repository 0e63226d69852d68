"""Two real processes under torchrun train as one process does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from fma_training import train
from test_train import corpus, run, state

__all__ = ["corpus"]  # a fixture


def losses(work: Path) -> list[float]:
    lines = [line.split() for line in (work / train.LOG_FILE).read_text("utf-8").splitlines()]
    return [float(line[line.index("loss") + 1]) for line in lines if "loss" in line]


def test_two_processes_are_one(corpus: Path, tmp_path: Path) -> None:
    extra = ["--log-every", "1", "--micro-batch", "1", "--valid-every", "2", "--valid-windows", "2"]
    alone = run(corpus, tmp_path / "alone", 4, *extra)
    work = tmp_path / "two"
    words = ["--config", str(corpus / "config.json"), "--corpus", str(corpus), "--work", str(work)]
    sizes = ["--context", "64", "--batch", "4", "--level-bias-columns", "2"]
    course = ["--steps", "4", "--decay-steps", "2", "--warmup-steps", "2", "--lr", "1e-2"]
    # Debian's PyTorch 1.13 fails on Python 3.11 with the default of both, 0.
    output = ["--redirects", "1", "--tee", "1"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *output]
    command = [*torchrun, "-m", "fma_training.train", *words, *sizes, *course, *extra]
    place = {**os.environ, "PYTHONPATH": str(ROOT / "training"), "OMP_NUM_THREADS": "1"}
    for stopped in (["--max-steps", "2"], []):  # stopped half-way, then resumed
        done = subprocess.run([*command, *stopped], env=place, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
    assert len(losses(alone)) == 4
    assert losses(work) == pytest.approx(losses(alone), abs=2e-4)
    together = state(work)
    assert all(torch.allclose(together[name], tensor, atol=1e-4) for name, tensor in state(alone).items())
    assert torch.load(work / train.STATE_FILE)["step"] == 4


def test_a_batch_must_divide(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Three(train.Workers):
        def __init__(self) -> None:
            self.count, self.rank = 3, 0

    monkeypatch.setattr(train, "Workers", Three)
    with pytest.raises(SystemExit, match="--batch / --micro-batch is 2; allowed: multiples of the 3 processes"):
        run(corpus, tmp_path / "run", 1)
