"""Draws docs/hierarchy.svg: what one query sees, from the level arithmetic of docs/model.md.

    python3 docs/hierarchy.py

Nothing but the standard library is needed. Change the numbers below and draw again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

GROUP_SIZE = 4  # m
RANK = 2  # p
LEVELS = 4  # L
QUERY = 182  # t
FIRST_SHOWN = 32  # tokens before are left out of the picture
END_SHOWN = 192
TITLE = f"What the query at token {QUERY} sees"

# Near field, then levels 1..L; each as (fill, pale fill, dark text).
COLOURS = [
    ("#1e3a8a", "#dbe4fb", "#1e3a8a"),
    ("#0e7fa8", "#d6eff7", "#0b6384"),
    ("#12936b", "#d8f3e8", "#0c6b4e"),
    ("#c98a08", "#fbeecb", "#8a5d00"),
    ("#c2491d", "#fbe1d6", "#9a3412"),
]
INK, GREY, PALE_GREY, OUTLINE = "#1f2937", "#6b7280", "#e5e7eb", "#cbd5e1"

WIDTH, HEIGHT = 1080, 566
LEFT, TOKEN = 136, 5.7  # x of the first token, width of a token
TOKENS_TOP, TOKENS_HEIGHT = 116, 26
LEVELS_TOP, ROW, BOX = 182, 50, 32
LIST_TOP, LIST_CELL = 444, 33
DOT = 3.5


@dataclass(frozen=True)
class Part:
    """Tokens [first, end) of the past, seen exactly (level 0) or through one group's summaries."""

    level: int
    first: int
    end: int


def group_tokens(level: int) -> int:
    """w_l."""
    return GROUP_SIZE << (level - 1)


def visible_parts() -> list[Part]:
    """What the query sees, oldest first ("Who sees what")."""
    parts = []
    fine = QUERY // GROUP_SIZE
    for level in range(LEVELS, 0, -1):
        group, width = fine >> (level - 1), group_tokens(level)
        parts += [Part(level, g * width, (g + 1) * width) for g in range((group & ~1) - 2, group - 1) if g >= 0]
    return [*parts, Part(0, max(0, fine - 1) * GROUP_SIZE, QUERY + 1)]


def x_of(token: float) -> float:
    return LEFT + (token - FIRST_SHOWN) * TOKEN


def rect(x: float, y: float, width: float, height: float, fill: str, more: str = "") -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}" {more}/>'


def text(x: float, y: float, content: str, size: float = 14, fill: str = INK, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" {more}>{content}</text>'


def dots(x: float, y: float, width: float, fill: str, count: int = RANK) -> list[str]:
    """Summaries of one group, each at the centre of its share."""
    share = width / count
    centres = [x + (r + 0.5) * share for r in range(count)]
    return [f'<circle cx="{centre:.1f}" cy="{y:.1f}" r="{DOT}" fill="{fill}"/>' for centre in centres]


def row_top(level: int) -> float:
    return LEVELS_TOP + (level - 1) * ROW


def heading(parts: list[Part]) -> list[str]:
    keys = sum(RANK if part.level else part.end - part.first for part in parts)
    sizes = f"Groups of m = {GROUP_SIZE} tokens, p = {RANK} summaries for each group, L = {LEVELS} levels"
    return [
        text(32, 44, TITLE, 22, INK, 'font-weight="700"'),
        text(32, 70, f"{sizes}: {keys} keys stand for {QUERY + 1 - parts[0].first} tokens.", 15, GREY),
    ]


def bands(parts: list[Part]) -> list[str]:
    """Pale columns from the tokens down to the row that stands for them: together they tile the past."""
    drawn = []
    for part in parts:
        top = TOKENS_TOP + TOKENS_HEIGHT
        bottom = row_top(part.level) if part.level else top + 14
        width = (part.end - part.first) * TOKEN
        drawn.append(rect(x_of(part.first), top, width, bottom - top, COLOURS[part.level][1]))
    return drawn


def tokens(parts: list[Part]) -> list[str]:
    level_of = {token: part.level for part in parts for token in range(part.first, part.end)}
    drawn = []
    for token in range(FIRST_SHOWN, END_SHOWN):
        x, width = x_of(token) + 0.6, TOKEN - 1.2
        if token > QUERY:
            style = f'stroke="{OUTLINE}" stroke-width="0.9" rx="1"'
            drawn.append(rect(x + 0.4, TOKENS_TOP + 0.4, width - 0.8, TOKENS_HEIGHT - 0.8, "#ffffff", style))
        elif token in level_of:
            drawn.append(rect(x, TOKENS_TOP, width, TOKENS_HEIGHT, COLOURS[level_of[token]][0], 'rx="1"'))
        else:
            drawn.append(rect(x, TOKENS_TOP, width, TOKENS_HEIGHT, "#d4d9e0", 'rx="1"'))
    return drawn


def groups(parts: list[Part]) -> list[str]:
    seen = {(part.level, part.first) for part in parts}
    drawn = []
    for level in range(1, LEVELS + 1):
        fill, _, dark = COLOURS[level]
        width, top = group_tokens(level), row_top(level)
        drawn.append(text(32, top + 15, f"level {level}", 15, dark, 'font-weight="700"'))
        drawn.append(text(32, top + 31, f"{width} tokens", 12.5, GREY))
        for first in range(FIRST_SHOWN // width * width, END_SHOWN, width):
            x, end = x_of(max(first, FIRST_SHOWN)), x_of(min(first + width, END_SHOWN))
            inside = (x + 1.5, top + 0.5, end - x - 3, BOX - 1)
            outline = f'stroke="{OUTLINE}" stroke-width="1" rx="3"'
            if (level, first) in seen:
                drawn.append(rect(x + 1, top, end - x - 2, BOX, fill, 'rx="3"'))
                drawn += dots(x, top + BOX / 2, end - x, "#ffffff")
            elif first > QUERY:
                drawn.append(rect(*inside, "#ffffff", outline + ' stroke-dasharray="2 3"'))
            else:
                drawn.append(rect(*inside, "#ffffff", outline + ' fill-opacity="0.6"'))
    return drawn


def axis(parts: list[Part]) -> list[str]:
    horizon, near = parts[0].first, parts[-1].first
    y = TOKENS_TOP - 10
    middle = 'text-anchor="middle"'
    query = x_of(QUERY + 0.5)
    return [
        text(32, TOKENS_TOP + 12, "tokens", 15, INK, 'font-weight="700"'),
        text(32, TOKENS_TOP + 28, "time →", 12.5, GREY),
        text(x_of((FIRST_SHOWN + horizon) / 2), y, "beyond the horizon: out of view", 13, GREY, middle),
        text(x_of((horizon + near) / 2), y, "far field: seen through summaries", 13, INK, middle),
        text(x_of(near) + 3, TOKENS_TOP + TOKENS_HEIGHT + 29, "near: exact", 13, COLOURS[0][2], 'font-weight="700"'),
        f'<path d="M {query:.1f} {TOKENS_TOP - 4} l -5 -9 h 10 z" fill="{INK}"/>',
        text(query, y - 8, "query", 13, INK, middle + ' font-weight="700"'),
    ]


def key_list(parts: list[Part]) -> list[str]:
    """The keys of the query's softmax, side by side."""
    drawn = [text(32, LIST_TOP - 18, "One softmax runs over these keys", 15, INK, 'font-weight="700"')]
    x = 32.0
    for level in [*range(LEVELS, 0, -1), 0]:
        fill, _, dark = COLOURS[level]
        of_level = [part for part in parts if part.level == level]
        count = sum(RANK if level else part.end - part.first for part in of_level)
        start = x
        for _ in range(count):
            size = LIST_CELL - 4
            drawn.append(rect(x, LIST_TOP, size, size, fill, 'rx="4"'))
            drawn += dots(x, LIST_TOP + size / 2, size, "#ffffff", 1) if level else []
            x += LIST_CELL
        label = f"level {level}" if level else "near field, token by token"
        drawn.append(text(start, LIST_TOP + 49, label, 13, dark, 'font-weight="700"'))
        x += 16
    kept = f"2m + 3pL = {2 * GROUP_SIZE + 3 * RANK * LEVELS} keys and values of each head"
    note = f"The cache has room for {kept}, after a hundred tokens or after a million."
    return [*drawn, text(32, LIST_TOP + 92, note, 15, GREY)]


def draw() -> str:
    parts = visible_parts()
    shapes = [
        rect(0, 0, WIDTH, HEIGHT, "#ffffff"),
        *heading(parts),
        *bands(parts),
        *tokens(parts),
        *groups(parts),
        *axis(parts),
        *key_list(parts),
    ]
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    font = 'font-family="Inter, Helvetica Neue, Arial, Liberation Sans, DejaVu Sans, sans-serif"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} role="img">',
            f"<title>{TITLE}: near tokens exactly, older ones in ever larger groups</title>",
            *shapes,
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(draw(), "utf-8")
