"""What was measured, as JSON, as tables and as a figure."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from streams import ManyStreams, OneStream

OURS, THEIRS = "fma-server", "llama.cpp"
KINDS = {"bf16": "bfloat16", "q8_0": "Q8_0", "q4_0": "Q4_0"}


@dataclass(frozen=True)
class Alone:
    """One stream after a prompt of so many tokens: every round of both, and the bytes of its session."""

    kind: str
    context: int
    rounds: dict[str, list[OneStream]]
    session_bytes: dict[str, int]


@dataclass(frozen=True)
class Together:
    kind: str
    streams: int
    rounds: dict[str, list[ManyStreams]]


@dataclass(frozen=True)
class Comparison:
    """`setting`: machine, versions, options."""

    setting: dict[str, Any]
    alone: list[Alone] = field(default_factory=list)
    together: list[Together] = field(default_factory=list)


def to_json(comparison: Comparison) -> str:
    return json.dumps(asdict(comparison), indent=1) + "\n"


def from_json(text: str) -> Comparison:
    raw = json.loads(text)

    def rounds(entry: dict[str, Any], of: Callable[..., Any]) -> dict[str, Any]:
        return {name: [of(**one) for one in several] for name, several in entry["rounds"].items()}

    return Comparison(
        raw["setting"],
        [Alone(**{**entry, "rounds": rounds(entry, OneStream)}) for entry in raw["alone"]],
        [Together(**{**entry, "rounds": rounds(entry, ManyStreams)}) for entry in raw["together"]],
    )


def medians(rounds: Iterable[Any]) -> dict[str, float]:
    """Of every number of the rounds; none of no rounds."""
    several = list(rounds)
    if not several:
        return {}
    return {each.name: statistics.median(getattr(one, each.name) for one in several) for each in fields(several[0])}


def tables(comparison: Comparison) -> str:
    """Markdown: one stream decoding after so many tokens, one stream reading them, many streams decoding. In tokens a
    second, by the clock and of processor time (CPU)."""
    parts = [_alone(comparison.alone, "decode"), _alone(comparison.alone, "prefill"), _together(comparison.together)]
    return "\n".join([part for part in parts if part])


_RATES = [OURS, THEIRS, "ratio", f"{OURS}, CPU", f"{THEIRS}, CPU", "ratio, CPU"]


def _alone(found: list[Alone], what: str) -> str:
    if not found:
        return ""
    columns = ["decoding" if what == "decode" else "reading", "tokens", *_RATES]
    columns += [f"session, {OURS}", THEIRS] if what == "decode" else []
    lines = []
    for each in found:
        ours, theirs = medians(each.rounds[OURS]), medians(each.rounds[THEIRS])
        cells = [KINDS[each.kind], f"{each.context:,}"]
        for key in (what, f"{what}_processor"):
            cells += _ratio(ours[key], theirs.get(key))
        if what == "decode":
            cells += [_mebibytes(each.session_bytes[name]) for name in (OURS, THEIRS)]
        lines.append(cells)
    return _table(columns, lines)


def _together(found: list[Together]) -> str:
    if not found:
        return ""
    columns = ["streams", "number", *_RATES, f"gap in ms, median (worst), {OURS}", THEIRS]
    lines = []
    for each in found:
        ours, theirs = medians(each.rounds[OURS]), medians(each.rounds[THEIRS])
        cells = [KINDS[each.kind], str(each.streams)]
        for key in ("tokens", "tokens_processor"):
            cells += _ratio(ours[key], theirs[key])
        cells += [f"{of['median_gap']:.0f} ({of['worst_gap']:.0f})" for of in (ours, theirs)]
        lines.append(cells)
    return _table(columns, lines)


def _ratio(ours: float, theirs: float | None) -> list[str]:
    if theirs is None:
        return [f"{ours:.1f}", "–", "–"]
    return [f"{ours:.1f}", f"{theirs:.1f}", f"{ours / theirs:.2f}"]


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


def _table(columns: list[str], lines: list[list[str]]) -> str:
    rows = [columns, ["---"] * len(columns), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def draw(comparison: Comparison, file: Path) -> None:
    """Tokens a second of processor time by context: decoding on the left, reading on the right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    contexts = sorted({each.context for each in comparison.alone})
    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.6))
    for panel, what in zip(panels, ("decode", "prefill"), strict=True):
        for colour, kind in enumerate(dict.fromkeys(each.kind for each in comparison.alone)):
            for name, style in ((OURS, "o-"), (THEIRS, "x--")):
                found = [each for each in comparison.alone if each.kind == kind and each.rounds[name]]
                rates = [medians(each.rounds[name])[f"{what}_processor"] for each in found]
                label = f"{KINDS[kind]}, {name}"
                panel.plot([each.context for each in found], rates, style, color=f"C{colour}", label=label)
        panel.set(xscale="log", yscale="log", xlabel="tokens of context", title=f"{what}, tokens a processor second")
        panel.set_xticks(contexts, [f"{context:,}" for context in contexts])
        panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:,.0f}")
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize=7, loc="lower left")
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
