"""Trains and measures the rows of the comparison; what is done already is not done again.

    python3 -m compare.run train --corpus CORPUS --out RESULTS
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
from fma_training.evaluate import position_edges
from fma_training.scoring import Score, answer_nats, windows_of
from fma_training.tokenizer import ByteTokenizer

from . import recipe as recipes
from .measure import measure
from .recipe import Recipe


def train_row(recipe: Recipe, seed: int, corpus: Path, out: Path) -> dict[str, Any]:
    """Trains one row with one seed and scores it."""
    work = out / "runs" / f"{recipe.name.replace('/', '-')}-{seed}"
    work.mkdir(parents=True, exist_ok=True)
    config = recipe.config(recipe.context)
    config.save(work)
    places = {"config": work / "config.json", "corpus": corpus, "work": work, "token-cache": out / "tokens"}
    words = [f"--{name}={value}" for name, value in {**recipe.training, **places, "seed": seed}.items()]
    began = time.process_time()
    trainer = train.Trainer(config, ByteTokenizer(), train.parse_arguments(words), recipe.make_attention())
    trainer.run()
    trained = time.process_time()
    edges = position_edges(recipe.fma["group_size"], recipe.context)
    scores = score(trainer, edges)
    whole = Score(sum(s.nats for s in scores), sum(s.tokens for s in scores), sum(s.bytes for s in scores))
    return {
        "recipe": recipe.name,
        "seed": seed,
        "parameters": recipes.parameters(trainer.model),
        "intermediate_size": config.intermediate_size,
        "training": recipe.training,
        "bits": whole.bits_per_byte,
        "edges": edges,
        "bits_by_position": [s.bits_per_byte for s in scores],
        "scored": whole.tokens,
        "processor_seconds": trained - began,
    }


def score(trainer: train.Trainer, edges: list[int]) -> list[Score]:
    """One score for each range of positions, of the first --valid-windows windows of the validation text."""
    arguments, model, scores = trainer.arguments, trainer.model, [Score() for _ in edges[1:]]
    rng = np.random.default_rng(0)  # hides the same tokens from every row
    tokens = trainer.valid_tokens[: arguments.valid_windows * (arguments.context + 1)]
    for windows in windows_of(tokens, arguments.context + 1, arguments.micro_batch):
        questions = trainer.objective(torch.from_numpy(windows).to(trainer.device), rng)
        nats = answer_nats(model.model, model.head_weight, questions)
        places = np.broadcast_to(np.arange(nats.shape[1]), nats.shape)
        if questions.places is not None:
            places = questions.places.cpu().numpy()
        for one, start, stop in zip(scores, edges, edges[1:]):
            chosen = nats[(places >= start) & (places < stop)]
            one.add(chosen, np.ones(chosen.size, np.int64))
    return scores


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
    changes = {name: getattr(arguments, name) for name in ("steps", "batch") if getattr(arguments, name)}
    if "batch" in changes:
        changes["micro-batch"] = changes["batch"]
    for seed in arguments.seeds:
        for name in arguments.rows:
            recipe = recipes.load(name)
            if recipe.blocks_at_once is not None:
                continue  # bounds memory alone: it learns what the same attention without bounds learns
            recipe.training.update(changes)
            file = arguments.out / "trained" / f"{name.replace('/', '-')}-{seed}.json"
            once(file, f"{name}, seed {seed}", partial(train_row, recipe, seed, arguments.corpus, arguments.out))


def _measure(arguments: argparse.Namespace) -> None:
    for length in sorted(arguments.lengths):
        for name in arguments.rows:
            recipe = recipes.load(name)
            file = arguments.out / "measured" / f"{name.replace('/', '-')}-{length}.json"
            once(file, f"{name}, {length} tokens", partial(measure, recipe, length, arguments.limit_gib))


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train", help="bits per byte of each row and seed")
    training.add_argument("--corpus", type=Path, required=True, help="folder of *-train*.txt and *-valid*.txt")
    training.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="(default 0 1)")
    training.add_argument("--steps", type=int, help="in place of the recipes'")
    training.add_argument("--batch", type=int, help="in place of the recipes'")
    training.set_defaults(command=_train)
    measuring = commands.add_parser("measure", help="memory and time of a step")
    measuring.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 4096, 8192, 16384])
    measuring.add_argument("--limit-gib", type=int, default=10, help="address space of a process (default %(default)s)")
    measuring.set_defaults(command=_measure)
    for each in (training, measuring):
        each.add_argument("--out", type=Path, required=True, help="folder of results")
        each.add_argument("--rows", nargs="+", default=recipes.names(), help="(default: all)")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    torch.set_num_threads(1)
    arguments = parse_arguments(words)
    arguments.command(arguments)


if __name__ == "__main__":
    main()
