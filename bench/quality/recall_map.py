"""Recall by depth and length: a pass key is planted at each of ten depths of a text and asked for at its end.

    recall_map.py --model DIR --book FILE full 64/32 64/32,open=16 --tokens 2048 4096 8192

Prints a Markdown table for each length: nats per digit, the mean of --keys texts for each cell, each with a key of its
own, and the mean over the depths. A guess costs ln 10 = 2.3. With --json it also writes what figures.py draws.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from evaluator import Evaluator, parser
from recall import DIGITS, Ids, planted, spoken
from shapes import Shape


def at_depth(evaluator: Evaluator, book: Ids, tokens: int, depth: float, seed: int) -> Ids:
    """A text of so many tokens with the key after that share of the book's part."""
    own = sum(len(evaluator.encode(words)) for words in spoken(seed))
    before = round(depth * (tokens - own))
    return planted(evaluator, book, before, tokens - own - before, seed)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--book", type=Path, required=True, help="UTF-8 text")
    options.add_argument("--tokens", type=int, nargs="+", required=True, help="lengths of the texts")
    options.add_argument("--depths", type=int, default=10, help="so many, from the beginning to the question")
    options.add_argument("--keys", type=int, default=1, help="texts of each cell")
    options.add_argument("--json", type=Path, help="also write the numbers to this file")
    options.add_argument("shapes", nargs="+", type=Shape, help="what bench/quality/shapes.py lists")
    arguments = options.parse_args()
    evaluator = Evaluator(arguments)
    book = evaluator.encode(arguments.book.read_text("utf-8"))
    depths = [(i + 0.5) / arguments.depths for i in range(arguments.depths)]
    rows = []
    for tokens in arguments.tokens:
        print(f"\n{tokens:,} tokens\n\n| depth | {' | '.join(f'{depth:.0%}' for depth in depths)} | mean |")
        print("| --- " * (len(depths) + 2) + "|")
        for shape in arguments.shapes:
            losses = []
            for first_seed, depth in enumerate(depths):
                seeds = [first_seed + key * len(depths) for key in range(arguments.keys)]
                texts = (at_depth(evaluator, book, tokens, depth, seed) for seed in seeds)
                losses.append(float(np.mean([evaluator.read(shape, ids).losses[-DIGITS:] for ids in texts])))
            cells = " | ".join(f"{loss:.2f}" for loss in [*losses, float(np.mean(losses))])
            print(f"| {shape.name} | {cells} |", flush=True)
            rows.append({"shape": shape.name, "tokens": tokens, "depths": depths, "losses": losses})
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1), "utf-8")


if __name__ == "__main__":
    main()
