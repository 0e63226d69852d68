"""What is still known of a sentence, by distance: a pass key is planted in a book and asked for at the end.

    recall.py --model DIR --book FILE full window:1556 256/128 --distances 600 1200 2500

Prints a Markdown table: nats per digit, the mean of the trials and their range. A guess costs ln 10 = 2.3; a model that
is sure of wrong digits pays more. Each trial has another key and another part of the book.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
from evaluator import Evaluator, parser
from shapes import Shape

DIGITS = 5
BEFORE = 400  # tokens of the book before the sentence, about
BETWEEN_TRIALS = 9_000  # tokens of the book from one trial's beginning to the next one's

Ids = list[int]


def planted(evaluator: Evaluator, book: Ids, distance: int, trial: int) -> Ids:
    """`distance` tokens lie between the key's first digit and the same digit in the answer, which is the end."""
    key = "".join(random.Random(trial).choices("0123456789", k=DIGITS))
    sentence = evaluator.encode(f"\n\nThe pass key is {key}. Remember it.\n\n")
    question = evaluator.encode(f"\n\nWhat is the pass key? The pass key is {key}")
    first = next(i for i in range(len(sentence)) if evaluator.tokenizer.decode(sentence[i : i + DIGITS]) == key)
    between = distance - (len(sentence) - first) - (len(question) - DIGITS)
    text = book[BETWEEN_TRIALS * trial :]
    before = BEFORE + 61 * trial  # the sentence meets the groups at other places
    if len(text) < before + between:
        raise ValueError(f"the book has {len(text)} tokens for trial {trial}; allowed: {before + between} and more")
    return text[:before] + sentence + text[before : before + between] + question


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--book", type=Path, required=True, help="UTF-8 text")
    options.add_argument("--distances", type=int, nargs="+", required=True, help="in tokens")
    options.add_argument("--trials", type=int, default=4)
    options.add_argument("--json", type=Path, help="also write the numbers to this file")
    options.add_argument("shapes", nargs="+", type=Shape, help="what bench/quality/shapes.py lists")
    arguments = options.parse_args()
    evaluator = Evaluator(arguments)
    book = evaluator.encode(arguments.book.read_text("utf-8"))
    rows = []
    print("| tokens back | " + " | ".join(shape.name for shape in arguments.shapes) + " |")
    print("| --- " * (len(arguments.shapes) + 1) + "|")
    for distance in arguments.distances:
        cells = []
        for shape in arguments.shapes:
            texts = (planted(evaluator, book, distance, trial) for trial in range(arguments.trials))
            losses = [float(np.mean(evaluator.read(shape, ids).losses[-DIGITS:])) for ids in texts]
            cells.append(f"{np.mean(losses):.2f} ({min(losses):.2f}-{max(losses):.2f})")
            rows.append({"shape": shape.name, "distance": distance, "losses": losses})
        print(f"| {distance:,} | {' | '.join(cells)} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1), "utf-8")


if __name__ == "__main__":
    main()
