"""Tables, and a figure, of what compare.run has found.

python3 -m compare.report RESULTS [--figure attentions.png]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from . import recipe as recipes
from .recipe import REFERENCE

FAMILIES = ("decoder", "encoder")
Found = dict[str, Any]  # one JSON file


@dataclass(frozen=True)
class Row:
    """One recipe's trained models, by seed."""

    name: str
    title: str
    models: list[Found]

    @property
    def bits(self) -> float:
        return float(np.mean([model["bits"] for model in self.models]))

    def mean(self, what: str) -> list[float]:
        """Of numbers by position, or by distance."""
        return np.mean([model[what] for model in self.models], 0).tolist()


def trained(results: Path, family: str, folder: str = "trained") -> list[Row]:
    """The best row first."""
    rows = []
    for name in (name for name in recipes.names() if name.startswith(f"{family}/")):
        files = sorted((results / folder).glob(f"{name.replace('/', '-')}-[0-9]*.json"))
        if files:
            rows.append(Row(name, recipes.load(name).title, [json.loads(file.read_text("utf-8")) for file in files]))
    return sorted(rows, key=lambda row: row.bits)


def seed_deviation(rows: list[Row]) -> float:
    """The standard deviation of one model's bits between seeds, pooled over the rows."""
    several = [[model["bits"] for model in row.models] for row in rows if len(row.models) > 1]
    if not several:
        return float("nan")
    squares = sum((len(bits) - 1) * float(np.var(bits, ddof=1)) for bits in several)
    return float(np.sqrt(squares / sum(len(bits) - 1 for bits in several)))


def quality_table(rows: list[Row]) -> str:
    edges = rows[0].models[0]["edges"]
    ranges = [f"{start}-{stop - 1}" for start, stop in pairwise(edges)]
    reference = next((row.bits for row in rows if row.name.endswith(f"/{REFERENCE}")), float("nan"))
    lines = []
    for row in rows:
        seeds = " ".join(f"{model['bits']:.3f}" for model in row.models)
        above = "" if row.name.endswith(f"/{REFERENCE}") else f"{row.bits - reference:+.3f}"
        places = [f"{bits:.3f}" for bits in row.mean("bits_by_position")]
        lines.append([row.title, f"{row.models[0]['parameters']:,}", f"{row.bits:.3f}", above, seeds, *places])
    return _table(["attention", "parameters", "mean", "above full", "seeds", *ranges], lines)


def recall_table(rows: list[Row]) -> str:
    distances = [f"{distance:,}" for distance in rows[0].models[0]["distances"]]
    lines = [[row.title, f"{row.bits:.2f}", *(f"{bits:.2f}" for bits in row.mean("bits_by_distance"))] for row in rows]
    return _table(["attention", "mean", *distances], lines)


def seeds_note(rows: list[Row]) -> str:
    deviation = seed_deviation(rows)
    if np.isnan(deviation):
        return "One seed.\n"
    fewest = min(len(row.models) for row in rows)
    # The difference of two means of k models has the deviation sqrt(2 / k) times that of one.
    threshold = 2 * deviation * np.sqrt(2 / fewest)
    return f"Standard deviation between seeds: {deviation:.3f}. Differences below {threshold:.3f} may be theirs.\n"


def measured(results: Path, family: str) -> list[Found]:
    files = sorted((results / "measured").glob(f"{family}-*.json"))
    return [json.loads(file.read_text("utf-8")) for file in files]


def cost_table(found: list[Found], what: str) -> str:
    """`peak_bytes` in MiB or `seconds`, by length; the smallest at the greatest length first."""
    lengths = sorted({each["length"] for each in found})
    cells = {(each["recipe"], each["length"]): each for each in found}
    names = sorted({each["recipe"] for each in found}, key=lambda name: _order(cells, name, lengths, what))
    lines = [[recipes.load(name).title, *(_cost(cells.get((name, n)), what) for n in lengths)] for name in names]
    return _table(["attention", *(f"{n:,}" for n in lengths)], lines)


def _order(cells: dict[tuple[str, int], Found], name: str, lengths: list[int], what: str) -> list[float]:
    return [cells.get((name, n), {}).get(what, float("inf")) for n in reversed(lengths)]


def _cost(found: Found | None, what: str) -> str:
    if found is not None and found.get("too_large"):
        return f"above {found['limit_gib']} GiB"
    if found is None or what not in found:
        return "–"
    return f"{found[what] / 2**20:,.0f}" if what == "peak_bytes" else f"{found[what]:.2f}"


def _table(columns: list[str], lines: list[list[str]]) -> str:
    rows = [columns, ["---"] * len(columns), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def draw(results: Path, file: Path) -> None:
    """Bits by position, memory and time by length; decoders above encoders."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(len(FAMILIES), 3, figsize=(15, 7.5))
    for line, family in zip(panels, FAMILIES):
        rows, costs = trained(results, family), measured(results, family)
        names = [name for name in recipes.names() if name.startswith(family)]
        colours = {name: pyplot.get_cmap("tab20")(i % 20) for i, name in enumerate(names)}
        for row in rows:
            middles = np.mean([row.models[0]["edges"][:-1], row.models[0]["edges"][1:]], 0)
            style = _style(row.name, colours)
            line[0].plot(middles, row.mean("bits_by_position"), label=row.title, **style)
        for panel, what, unit in ((line[1], "peak_bytes", 2**20), (line[2], "seconds", 1)):
            for name in dict.fromkeys(each["recipe"] for each in costs):
                points = sorted((e["length"], e[what] / unit) for e in costs if e["recipe"] == name and what in e)
                panel.plot(*zip(*points), label=recipes.load(name).title, **_style(name, colours))
            panel.set(xscale="log", yscale="log", xlabel="tokens")
        line[0].set(xlabel="position", ylabel=family, title="bits per byte")
        line[1].set_title("peak memory of a step, MiB")
        line[2].set_title("processor time of a step, s")
        line[2].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5))
    for panel in panels.flat:
        panel.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(file, dpi=90)
    pyplot.close(figure)


def _style(name: str, colours: dict[str, Any]) -> dict[str, Any]:
    """FMA in full lines with dots, the others dashed with crosses."""
    ours = {"linestyle": "-", "marker": "o"} if "/fma" in name else {"linestyle": "--", "marker": "x"}
    return {**ours, "color": colours[name], "markersize": 4}


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="the folder that compare.run wrote")
    parser.add_argument("--figure", type=Path, help="a picture to draw, which needs Matplotlib")
    arguments = parser.parse_args(words)
    for family, article in zip(FAMILIES, ("a", "an")):
        if rows := trained(arguments.results, family):
            print(f"Bits per byte of {family}s\n\n{quality_table(rows)}\n{seeds_note(rows)}")
        if rows := trained(arguments.results, family, "recalled"):
            print(f"Bits per value of names that come back, by distance\n\n{recall_table(rows)}\n{seeds_note(rows)}")
        if costs := measured(arguments.results, family):
            print(f"Peak memory of {article} {family}'s step, MiB\n\n{cost_table(costs, 'peak_bytes')}")
            print(f"Processor time of {article} {family}'s step, s\n\n{cost_table(costs, 'seconds')}")
    if arguments.figure:
        draw(arguments.results, arguments.figure)


if __name__ == "__main__":
    main()
