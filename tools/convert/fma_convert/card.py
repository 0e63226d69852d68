"""What people read: sizes in words, the costs of a session, and the card of a converted model."""

from __future__ import annotations

import math

from .far_field import CACHE_TYPES, FarField, full_cache_bytes
from .source import Source

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_NAME_CHARACTERS = 100
_CACHES = ("f32", "bf16")  # of the table of costs


def in_words(size: int) -> str:
    """1,536 is 1.5 KiB."""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:,.1f} {_UNITS[unit]}" if unit else f"{size} bytes"


def cost_table(source: Source, far: FarField) -> list[list[str]]:
    """Rows of texts, the first of headings: what a session and its archive take beside a full cache, by tokens and type
    of cache."""
    kinds = ["full cache", "session", *(["archive"] if far.open_units else [])]
    rows = [["tokens", *(f"{kind}, {cache}" for cache in _CACHES for kind in kinds)]]
    lengths = {4096, 32768, 131072, source.decoder.max_length, far.horizon}
    for tokens in sorted(length for length in lengths if length <= far.horizon):
        row = [f"{tokens:,}"]
        for cache in (CACHE_TYPES[name] for name in _CACHES):
            row += [in_words(full_cache_bytes(source.decoder, tokens, cache))]
            row += [in_words(far.session_bytes(source.decoder, cache))]
            if far.open_units:
                row += [in_words(far.archive_bytes(source.decoder, tokens, cache))]
        rows.append(row)
    return rows


def far_field_in_words(far: FarField) -> str:
    distance = f"nothing seems farther than {far.max_distance:,} tokens" if far.max_distance else "no bound on distance"
    archive = (
        f"; all older tokens in an archive, of which each query reads {far.open_units:,} units of {far.open_size:,}"
        if far.open_units
        else ""
    )
    return (
        f"at least {far.near:,} of the newest tokens exactly, {far.rank:,} chosen tokens for each older group on "
        f"{far.levels} levels, back to {far.horizon:,} tokens; {far.sinks} sinks; {distance}{archive}"
    )


def card(source: Source, far: FarField) -> str:
    """README.md of the folder. Foreign texts are cut and cannot be Markdown."""
    decoder = source.decoder
    parameters = sum(math.prod(tensor.shape) for tensor in source.tensors.values())
    licence = f"`{_plain(source.licence)}`, says the file" if source.licence else "see where the model comes from"
    facts = [
        ("Made by", f"`fma-convert` from {source.kind} of the name `{_plain(source.path.resolve().name)}`"),
        ("Architecture", f"{decoder.architecture}: {decoder.num_layers} layers, {decoder.hidden_size} wide, "
         f"{decoder.num_heads} query and {decoder.num_kv_heads} key/value heads of {decoder.head_dim}"),
        ("Parameters", f"{parameters:,}"),
        ("Made for texts of", f"{decoder.max_length:,} tokens"),
        ("Attention", far_field_in_words(far)),
        ("Licence", licence),
    ]  # fmt: skip
    head, *rows = cost_table(source, far)
    lines = [
        f"# {_plain(source.path.resolve().stem)}",
        "",
        "A pretrained transformer, its weights as they were, whose memory does not grow: Fast Multipole Attention",
        "reads the recent past token by token, and the older past through tokens that were chosen from it.",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in facts),
        "",
        "What a session takes, about, beside an ordinary cache of the same model:",
        "",
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Letters, digits and a few signs; anything else becomes a space."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-+") else " " for c in text)
    return " ".join(kept.split())[:_NAME_CHARACTERS] or "model"
