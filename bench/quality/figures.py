"""Draws docs/quality-loss.svg, docs/quality-recall.svg and docs/quality-recall-map.svg from bench/quality/results.

figures.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"
WINDOW, SELECT, OPENED, FULL, GREY = "#c2491d", "#1e3a8a", "#7c3aed", "#12936b", "#6b7280"
MOST_NATS = 3  # of the map's colours
MAP_COLUMNS = 3
TITLES = {"agnes-grey": "Agnes Grey", "twenty-years-at-hull-house": "Twenty Years at Hull-House"}

Rows = list[dict[str, Any]]


def rows_of(name: str) -> Rows:
    rows: Rows = json.loads((RESULTS / name).read_text("utf-8"))
    return rows


def save(figure: Any, name: str) -> None:
    figure.savefig(ROOT / "docs" / name, bbox_inches="tight", metadata={"Date": None})


def draw_loss(axes: Any, rows: Rows) -> None:
    full = next(row["loss"] for row in rows if row["shape"] == "full")
    kinds = ((window_rows(rows), WINDOW, "window and sinks"), (select_rows(rows), SELECT, "select"))
    for marks, colour, label in kinds:
        marks.sort(key=lambda row: row["cache_bytes"])
        sizes = [row["cache_bytes"] / 2**20 for row in marks]
        losses = [row["loss"] - full for row in marks]
        line = "-" if colour == WINDOW else ""
        axes.plot(sizes, losses, linestyle=line, marker="o", color=colour, label=label)
        if colour == SELECT:
            for row, size, loss in zip(marks, sizes, losses, strict=True):
                place = {"xytext": (0, -4), "textcoords": "offset points", "ha": "right", "va": "top"}
                axes.annotate(row["shape"], (size, loss), fontsize=7, rotation=50, **place)
    axes.set_title(TITLES.get(rows[0]["book"], rows[0]["book"]))
    axes.set(xlabel="bytes of state, MiB", ylim=(-0.01, None), xlim=(0, None))
    axes.grid(color="#e5e7eb")


def window_rows(rows: Rows) -> Rows:
    return [row for row in rows if row["shape"].startswith("window:")]


def select_rows(rows: Rows) -> Rows:
    return [row for row in rows if row["shape"].replace("/", "").isdigit()]


def loss_figure(rows: Rows) -> None:
    books = list(dict.fromkeys(row["book"] for row in rows))
    figure, panels = plt.subplots(1, len(books), figsize=(9.5, 4.4), sharey=True, squeeze=False)
    for axes, book in zip(panels[0], books, strict=True):
        draw_loss(axes, [row for row in rows if row["book"] == book])
    panels[0][0].set_ylabel("nats per token above full attention")
    panels[0][-1].legend(frameon=False)
    save(figure, "quality-loss.svg")


def colour_of(shape: str) -> str:
    if "open=" in shape:
        return OPENED
    return FULL if shape == "full" else WINDOW if shape.startswith("window") else SELECT


def recall_figure(rows: Rows) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.8))
    for shape in dict.fromkeys(row["shape"] for row in rows):
        marks = [row for row in rows if row["shape"] == shape]
        colour = colour_of(shape)
        means = [float(np.mean(row["losses"])) for row in marks]
        axes.plot([row["distance"] for row in marks], means, marker="o", color=colour, label=shape)
    axes.axhline(np.log(10), color=GREY, linestyle=":")
    axes.annotate("a guess", (marks[0]["distance"], np.log(10)), xytext=(0, 4), textcoords="offset points", color=GREY)
    axes.set(xscale="log", xlabel="tokens between the key and the question", ylabel="nats per digit", ylim=(0, None))
    ticks = sorted({row["distance"] for row in rows})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks], fontsize=8)
    axes.minorticks_off()
    axes.grid(color="#e5e7eb")
    axes.legend(frameon=False)
    save(figure, "quality-recall.svg")


def map_figure(rows: Rows) -> None:
    """A panel for each shape: lengths from above, depths from the left; white was not measured."""
    shapes = list(dict.fromkeys(row["shape"] for row in rows))
    lengths = sorted({row["tokens"] for row in rows})
    lines, columns = -(-len(shapes) // MAP_COLUMNS), min(len(shapes), MAP_COLUMNS)
    size = (3.1 * columns, 2.9 * lines)
    figure, panels = plt.subplots(lines, columns, figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axes, shape in zip(panels.flat, shapes, strict=False):
        image = draw_map(axes, [row for row in rows if row["shape"] == shape], lengths)
        axes.set_title(shape, fontsize=8)
    for line in panels:
        line[0].set_yticks(range(len(lengths)), [f"{length:,}" for length in lengths])
        line[0].set_ylabel("tokens of the text")
    for axes in panels.flat[len(shapes) :]:
        axes.axis("off")
    figure.colorbar(image, ax=panels, label="nats per digit", fraction=0.02, pad=0.01)
    save(figure, "quality-recall-map.svg")


def draw_map(axes: Any, rows: Rows, lengths: list[int]) -> Any:
    for row in rows:
        y, width = lengths.index(row["tokens"]), 1 / len(row["depths"])
        for depth, loss in zip(row["depths"], row["losses"], strict=True):
            colour = plt.get_cmap("viridis_r")(min(loss, MOST_NATS) / MOST_NATS)
            axes.add_patch(plt.Rectangle((depth - width / 2, y - 0.5), width, 1, color=colour, linewidth=0))
    axes.set(xlim=(0, 1), ylim=(len(lengths) - 0.5, -0.5), xticks=(0, 0.5, 1), xticklabels=("begin", "", "end"))
    return plt.cm.ScalarMappable(plt.Normalize(0, MOST_NATS), "viridis_r")


if __name__ == "__main__":
    plt.rcParams.update({"svg.hashsalt": "fma", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    loss_figure(rows_of("loss-8k.json"))
    recall_figure(rows_of("recall-near.json") + rows_of("recall-far.json") + rows_of("recall-opened.json"))
    map_figure(rows_of("recall-map.json"))
