"""Runs fma-eval on a model in many shapes, and keeps every answer, so that nothing is computed twice."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from shapes import Shape, write_folder
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Reading:
    """What a model made of a text."""

    losses: np.ndarray  # nats of every token but a window's first
    cache_bytes: int
    tokens_per_second: float


class Evaluator:
    """Answers lie in `work`, under a digest of weights, shape and text; another fma-eval needs another folder."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.model: Path = arguments.model
        self.work: Path = arguments.work
        self.program: Path = arguments.fma_eval
        self.threads: int = arguments.threads
        self.tokenizer = Tokenizer.from_file(str(self.model / "tokenizer.json"))
        (self.work / "readings").mkdir(parents=True, exist_ok=True)

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def read(self, shape: Shape, ids: list[int], window: int = 0) -> Reading:
        """Windows of so many tokens are read one by one, each from scratch; 0: all are one text."""
        length = window or len(ids)
        name = f"{shape.name.replace('/', '-')}-{length}"
        folder = write_folder(self.model, shape, length, self.work / "models" / name)
        weights = (self.model / "model.safetensors").stat()
        asked = [(folder / "config.json").read_text("utf-8"), weights.st_size, weights.st_mtime_ns, ids, window]
        key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:24]
        losses, report = (self.work / "readings" / f"{key}.{kind}" for kind in ("npy", "json"))
        if not report.exists():
            print(f"reading {len(ids)} tokens: {shape.name}", file=sys.stderr, flush=True)
            report.write_text(json.dumps(self._run(folder, ids, window, losses)), "utf-8")
        values = json.loads(report.read_text("utf-8"))
        nats = np.load(losses).astype(np.float64)
        if not np.isfinite(nats).all():
            raise FloatingPointError(f"{losses}: a loss is not finite")
        return Reading(nats, int(values["cache bytes"]), float(values["tokens/s"]))

    def _run(self, folder: Path, ids: list[int], window: int, losses: Path) -> dict[str, str]:
        tokens = losses.with_suffix(".ids")
        tokens.write_text(json.dumps(ids), "utf-8")
        options = {"--model": folder, "--token-ids": tokens, "--losses": losses, "--context": window}
        options |= {"--device": "cpu", "--threads": self.threads}
        command = [str(self.program), *(str(word) for option in options.items() for word in option)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        tokens.unlink()
        report = {}
        for line in done.stdout.splitlines():
            name, value = line.rsplit(maxsplit=1)
            report[name] = value
        return report


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all programs of this folder have."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", type=Path, required=True, help="folder that fma-convert wrote, of `select`")
    made.add_argument("--work", type=Path, default=ROOT / "build/quality", help="what was computed is kept here")
    made.add_argument("--fma-eval", type=Path, default=ROOT / "build/release/bin/fma-eval")
    made.add_argument("--threads", type=int, default=0, help="0: one for each core")
    return made
