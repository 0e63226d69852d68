"""Trains and measures the rows of the comparison; what is done already is not done again.

    python3 -m compare.run train --corpus CORPUS --out RESULTS
    python3 -m compare.run recall --corpus CORPUS --out RESULTS
    python3 -m compare.run measure --out RESULTS
    python3 -m compare.run train --corpus CORPUS --out RESULTS --rows encoder/fma encoder/full --seeds 0 --steps 2000

RESULTS gets one JSON file for each row and seed, and for each row and length. Interrupted training goes on from its
last saved state. Other numbers of steps belong in other folders. Several of these programs may run beside each other
with different rows. Make tables of RESULTS with compare.report.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fma_training import train
from fma_training.arrays import Integers
from fma_training.evaluate import position_edges
from fma_training.objective import Objective, Questions
from fma_training.scoring import Score, answer_nats, windows_of
from fma_training.tokenizer import ByteTokenizer

from . import recipe as recipes
from .measure import measure
from .recall import DISTANCES, answer_distances, recall
from .recipe import Recipe


def run_trainer(recipe: Recipe, seed: int, corpus: Path, out: Path, objective: Objective | None) -> train.Trainer:
    """Trains one row with one seed."""
    task = "text" if objective is None else objective.__name__
    work = out / "runs" / f"{task}-{recipe.file_name}-{seed}"
    work.mkdir(parents=True, exist_ok=True)
    config = recipe.config(recipe.context)
    config.save(work)
    places = {"config": work / "config.json", "corpus": corpus, "work": work, "token-cache": out / "tokens"}
    words = [f"--{name}={value}" for name, value in {**recipe.training, **places, "seed": seed}.items()]
    arguments = train.parse_arguments(words)
    trainer = train.Trainer(config, ByteTokenizer(), arguments, recipe.make_attention(), objective)
    trainer.run()
    return trainer


def train_row(recipe: Recipe, seed: int, corpus: Path, out: Path) -> dict[str, Any]:
    """Bits per byte of the text, by position."""
    began = time.process_time()
    trainer = run_trainer(recipe, seed, corpus, out, None)
    seconds, edges = time.process_time() - began, position_edges(recipe.fma["group_size"], recipe.context)

    def ranges(questions: Questions) -> Integers:
        places = questions.places
        shape = questions.answers.shape
        at = np.broadcast_to(np.arange(shape[1]), shape) if places is None else places.cpu().numpy()
        return np.searchsorted(edges, at, "right") - 1

    scores = score(trainer, ranges, len(edges) - 1)
    return {**_about(recipe, seed, trainer, seconds, scores), "edges": edges, "bits_by_position": _bits(scores)}


def recall_row(recipe: Recipe, seed: int, corpus: Path, out: Path) -> dict[str, Any]:
    """Bits per value of values that were told at a distance."""
    began = time.process_time()
    trainer = run_trainer(recipe, seed, corpus, out, recall)
    seconds = time.process_time() - began
    scores = score(trainer, lambda questions: answer_distances(len(questions.answers)), len(DISTANCES))
    return {**_about(recipe, seed, trainer, seconds, scores), "distances": DISTANCES, "bits_by_distance": _bits(scores)}


def score(trainer: train.Trainer, group: Callable[[Questions], Integers], groups: int) -> list[Score]:
    """One score for each group of answers, in the first --valid-windows windows of the validation text; `group` numbers
    the answers [B, k]."""
    arguments, model, scores = trainer.arguments, trainer.model, [Score() for _ in range(groups)]
    rng = np.random.default_rng(0)  # the same questions for every row
    tokens = trainer.valid_tokens[: arguments.valid_windows * (arguments.context + 1)]
    for windows in windows_of(tokens, arguments.context + 1, arguments.micro_batch):
        if windows.shape[1] <= arguments.context:
            break  # what is left of a short text
        questions = trainer.objective(torch.from_numpy(windows).to(trainer.device), rng)
        nats, numbers = answer_nats(model.model, model.head_weight, questions), group(questions)
        for number, one in enumerate(scores):
            chosen = nats[numbers == number]
            one.add(chosen, np.ones(chosen.size, np.int64))
    return scores


def _about(recipe: Recipe, seed: int, trainer: train.Trainer, seconds: float, scores: list[Score]) -> dict[str, Any]:
    tokens = sum(s.tokens for s in scores)
    return {
        "recipe": recipe.name,
        "seed": seed,
        "parameters": recipes.parameters(trainer.model),
        "training": recipe.training,
        "bits": Score(sum(s.nats for s in scores), tokens, tokens).bits_per_byte,
        "scored": tokens,
        "processor_seconds": seconds,
    }


def _bits(scores: list[Score]) -> list[float]:
    return [one.bits_per_byte for one in scores]


def once(file: Path, title: str, make: Callable[[], dict[str, Any]]) -> None:
    """Writes what `make` returns, unless the file is there."""
    if file.is_file():
        return
    print(f"{time.strftime('%H:%M:%S')} {title}", flush=True)
    content = json.dumps(make(), indent=1)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".partial").write_text(content + "\n", "utf-8")
    file.with_suffix(".partial").rename(file)


def _train(arguments: argparse.Namespace) -> None:
    for seed in arguments.seeds:
        for name in arguments.rows:
            recipe = recipes.load(name).changed(arguments.changes)
            if recipe.blocks_at_once is not None:
                continue  # bounds memory alone: it learns what the same attention without bounds learns
            file = arguments.out / arguments.folder / f"{recipe.file_name}-{seed}.json"
            job = partial(arguments.row, recipe, seed, arguments.corpus, arguments.out)
            once(file, f"{name}, seed {seed}", job)


def _measure(arguments: argparse.Namespace) -> None:
    for length in sorted(arguments.lengths):
        for name in arguments.rows:
            recipe = recipes.load(name)
            file = arguments.out / "measured" / f"{recipe.file_name}-{length}.json"
            once(file, f"{name}, {length} tokens", partial(measure, recipe, length, arguments.limit_gib))


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    _training(commands.add_parser("train", help="bits per byte of each row and seed"), {}, recipes.names())
    recalling = commands.add_parser("recall", help="bits per value of names that come back, by distance")
    task = recipes.recall_task()
    _training(recalling, task["training"], task["rows"])
    recalling.set_defaults(row=recall_row, folder="recalled")
    measuring = commands.add_parser("measure", help="memory and time of a step")
    measuring.add_argument("--out", type=Path, required=True, help="folder of results")
    measuring.add_argument("--rows", nargs="+", default=recipes.names(), help="(default: all)")
    measuring.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 4096, 8192, 16384])
    measuring.add_argument("--limit-gib", type=int, default=8, help="address space of a process (default %(default)s)")
    measuring.set_defaults(command=_measure)
    return parser.parse_args(words)


def _training(parser: argparse.ArgumentParser, changes: dict[str, Any], rows: list[str]) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of *-train*.txt and *-valid*.txt")
    parser.add_argument("--rows", nargs="+", default=rows, help=f"(default: {' '.join(rows)})")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="(default: 0 1)")
    parser.add_argument("--steps", type=int, help="in place of the recipes'")
    parser.add_argument("--batch", type=int, help="in place of the recipes'")
    parser.add_argument("--lr", type=float, help="peak learning rate, in place of the recipes'")
    parser.set_defaults(command=_train, row=train_row, folder="trained", changes=changes)


def main(words: list[str] | None = None) -> None:
    torch.set_num_threads(1)
    arguments = parse_arguments(words)
    if arguments.command is _train:
        batch = {"batch": arguments.batch, "micro-batch": arguments.batch}
        own = {"steps": arguments.steps, "lr": arguments.lr, **batch}
        arguments.changes = {**arguments.changes, **{name: value for name, value in own.items() if value is not None}}
    arguments.command(arguments)


if __name__ == "__main__":
    main()
