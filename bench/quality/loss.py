"""Loss by position in books, for full attention, windows and selected tokens.

    loss.py --model DIR --book FILE [--book FILE ...] --tokens 8192 full window:512 64/32 256/128

Prints a Markdown table: nats per token in bands of positions, and above the first shape. With --json it also writes
what figures.py draws.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from evaluator import Evaluator, parser
from shapes import Shape


def bands(tokens: int) -> list[tuple[int, int]]:
    """0 to 1k, to 2k, to 4k, ..., to the end."""
    ends = [1024]
    while ends[-1] < tokens:
        ends.append(min(2 * ends[-1], tokens))
    return list(zip([0, *ends[:-1]], ends, strict=True))


def band_label(first: int, end: int) -> str:
    return f"{first // 1024}k-{end // 1024}k"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--book", type=Path, action="append", required=True, help="UTF-8 text; may be repeated")
    options.add_argument("--tokens", type=int, default=8192, help="read from the beginning of each book")
    options.add_argument("--json", type=Path, help="also write the numbers to this file")
    options.add_argument("shapes", nargs="+", type=Shape, help="what bench/quality/shapes.py lists")
    arguments = options.parse_args()
    evaluator = Evaluator(arguments)
    rows = []
    for book in arguments.book:
        ids = evaluator.encode(book.read_text("utf-8"))[: arguments.tokens]
        print(f"\n{book.stem}, {len(ids)} tokens\n")
        labels = [band_label(*band) for band in bands(len(ids))]
        print(f"| | cache, MiB | loss | above {arguments.shapes[0].name} | {' | '.join(labels)} |")
        print("| --- " * (len(labels) + 4) + "|")
        base = None
        for shape in arguments.shapes:
            reading = evaluator.read(shape, ids)
            loss = float(reading.losses.mean())
            base = loss if base is None else base
            parts = [float(np.mean(reading.losses[first:end])) for first, end in bands(len(ids))]
            cells = [f"{reading.cache_bytes / 2**20:.1f}", f"{loss:.3f}", f"{loss - base:+.3f}"]
            print(f"| {shape.name} | {' | '.join(cells + [f'{part:.3f}' for part in parts])} |", flush=True)
            rows.append({"book": book.stem, "shape": shape.name, "cache_bytes": reading.cache_bytes,
                         "loss": loss, "bands": parts})
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1), "utf-8")


if __name__ == "__main__":
    main()
