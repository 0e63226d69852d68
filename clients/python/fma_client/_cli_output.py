"""What the command line prints: the same as the `fma` tool."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ._cli_files import write_output
from .types import (
    Completion,
    Delta,
    Embedding,
    FilledText,
    LayerShares,
    Model,
    Score,
    SessionInfo,
    Source,
    TokenLogprob,
    Tokens,
    TokenScore,
    Usage,
)

_ESCAPES = {10: b"\\n", 13: b"\\r", 9: b"\\t", 34: b'\\"', 39: b"\\'", 92: b"\\\\"}
_HEX_DIGITS = b"0123456789abcdefABCDEF"


def write(text: str | bytes) -> None:
    """To standard output at once."""
    write_output(text if isinstance(text, bytes) else text.encode())


def note(text: str) -> None:
    """A line on standard error, unless that was closed."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


def write_json(value: Any) -> None:
    """One JSON line, U+FFFD where a token is not UTF-8."""
    write(json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return asdict(value)


def escape(token: bytes) -> bytes:
    """As in C: control characters and quotes are escaped, UTF-8 is not."""
    out = bytearray()
    after_hex = False
    for byte in token:
        plain = byte >= 0x80 or (0x20 <= byte < 0x7F and not (after_hex and byte in _HEX_DIGITS))
        after_hex = byte not in _ESCAPES and not plain
        out += _ESCAPES.get(byte) or (bytes([byte]) if plain else b"\\x%02x" % byte)
    return bytes(out)


def human_bytes(count: float) -> str:
    if count < 1024:
        return f"{count} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        count /= 1024
        if count < 1024 or unit == "TiB":
            return f"{count:.1f} {unit}"
    raise AssertionError


def _rate(per_second: float) -> str:
    return f"{per_second:.1f}" if per_second < 100 else f"{round(per_second):,}"


def _speed(tokens: int, seconds: float, timed: int) -> str:
    rate = f" ({_rate(timed / seconds)} tok/s)" if seconds > 0 and timed > 0 else ""
    return f"{tokens:,} tokens in {seconds:.2f} s{rate}"


def _tokens_held(completion: Completion, generated: int) -> int:
    """By the sequences of a request, which generated so many, or by the session that it went on from."""
    if completion.session is not None:
        return completion.session.tokens
    assert completion.usage is not None
    return completion.usage.prompt_tokens + generated


def _archive_bytes(usage: Usage, model: Model) -> int:
    return usage.archived_tokens * model.archive_bytes_per_1000_tokens // 1000


def finished_event(completion: Completion, model: Model, indexed: bool) -> dict[str, Any]:
    usage = completion.usage
    assert usage is not None
    tokens = _tokens_held(completion, usage.generated_tokens)
    event = {
        "event": "finished",
        "reason": completion.finish_reason or "unspecified",
        "text": "",
        "usage": asdict(usage),
        "cache_bytes": model.slot_bytes,
        "archive_bytes": _archive_bytes(usage, model),
        "full_cache_bytes": tokens * model.full_cache_bytes_per_token,
    }
    for name in ("stop", "stop_token_id", "session"):
        if getattr(completion, name) is not None:
            event[name] = getattr(completion, name)
    return {**event, "index": completion.index} if indexed else event


def delta_event(delta: Delta, indexed: bool) -> dict[str, Any]:
    event: dict[str, Any] = {"event": "delta", "text": delta.text, "token_ids": delta.token_ids}
    if delta.logprobs:
        event["logprobs"] = delta.logprobs
    if delta.top_logprobs:
        event["top_logprobs"] = delta.top_logprobs
    if delta.sources:
        event["sources"] = delta.sources
    if delta.attention_shares:
        event["attention_shares"] = delta.attention_shares
    return {**event, "index": delta.index} if indexed else event


def write_passages(completions: Sequence[Completion]) -> None:
    """What an answer was read from, added up over its tokens, on standard error."""
    shares: dict[int, float] = {}
    passages: dict[int, Source] = {}
    lists = [sources for completion in completions for sources in completion.sources]
    for source in (source for sources in lists for source in sources):
        shares[source.first_token] = shares.get(source.first_token, 0) + source.share
        passages[source.first_token] = source
    if passages:
        note("read most in the archive, with its share of attention:")
    for first in sorted(passages, key=lambda token: (-shares[token], token))[:5]:
        text = " ".join(re.findall(r"[^ \t\n\r\f\v]+", passages[first].text))
        percent = f"{100 * shares[first] / len(lists):5.1f} %"
        note(f"{percent}  tokens {first:,} to {passages[first].end_token - 1:,}  {text}")


def write_attention(completions: Sequence[Completion]) -> None:
    """How an answer's tokens divided their attention, on average, on standard error."""
    tokens = [layers for completion in completions for layers in completion.attention_shares]
    if not tokens:
        return
    rows = [_average([_in_order(layers[i]) for layers in tokens]) for i in range(len(tokens[0]))]
    everything = _average(rows)
    names = ["sinks", "near", *(f"level {i + 1}" for i in range(len(everything) - 3)), "opened"]
    shown = [part for part, share in enumerate(everything) if share > 0]
    note("attention in %, on average over the answer:")
    note("layer" + "".join(f"{names[part]:>9}" for part in shown))
    for name, row in [*enumerate(rows), ("all", everything)]:
        note(f"{name:>5}" + "".join(f"{100 * row[part]:9.1f}" for part in shown))


def _in_order(layer: LayerShares) -> list[float]:
    return [layer.sinks, layer.near_field, *layer.levels, layer.opened_units]


def _average(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def write_summary(completions: Sequence[Completion], model: Model, started: float, interrupted: bool) -> None:
    """What a generation took, on standard error."""
    if interrupted:
        generated = sum(len(completion.token_ids) for completion in completions)
        note(f"interrupted; generated {_speed(generated, time.monotonic() - started, generated)}")
    write_passages(completions)
    write_attention(completions)
    usages = [completion.usage for completion in completions if completion.usage is not None]
    if not usages or len(usages) < len(completions):
        return
    first = usages[0]
    generated = sum(usage.generated_tokens for usage in usages)
    decode = max(usage.decode_seconds for usage in usages)
    decoded = sum(max(usage.generated_tokens - 1, 0) for usage in usages)
    note(
        f"prompt {_speed(first.prompt_tokens, first.prefill_seconds, first.prompt_tokens)}; "
        f"generated {_speed(generated, decode, decoded)}"
    )
    tokens = _tokens_held(completions[0], generated)
    full = tokens * model.full_cache_bytes_per_token
    archive = max(_archive_bytes(usage, model) for usage in usages)
    if archive:
        note(
            f"cache {human_bytes(model.slot_bytes)} beside an archive of {human_bytes(archive)}, a full KV cache would "
            f"hold {human_bytes(full)} at {tokens:,} tokens"
        )
    elif model.slot_bytes:
        note(
            f"cache {human_bytes(model.slot_bytes)}, a full KV cache would hold {human_bytes(full)} at {tokens:,} "
            f"tokens, {full / model.slot_bytes:.3g}x"
        )


def _shown(token: TokenLogprob | TokenScore) -> bytes:
    return b'"%s"' % escape(token.token) if token.token else b"%d" % token.token_id


def write_score(score: Score, every_token: bool) -> None:
    for token in score.tokens if every_token else ():
        logprob = "-" if token.logprob is None else f"{token.logprob:.4f}"
        line = b"%7d  %9s  %s" % (token.token_id, logprob.encode(), _shown(token))
        write(line + b"".join(b"  %s %.4f" % (_shown(top), top.logprob) for top in token.top) + b"\n")
    summary = f"scored {score.scored_tokens:,} tokens, total log-probability {score.total_logprob:.4f}"
    if score.scored_tokens:
        mean = score.total_logprob / score.scored_tokens
        summary += f", mean {mean:.4f}, perplexity {math.exp(-mean):.4g}"
    write(summary + "\n")


def write_token(event: str, token: TokenScore) -> None:
    """A JSON line of a scored token."""
    fields = asdict(token)
    if not token.top:
        del fields["top"]
    write_json({"event": event, **fields})


def write_score_json(score: Score) -> None:
    for token in score.tokens:
        write_token("token", token)
    write_json({"event": "summary", **{k: v for k, v in asdict(score).items() if k != "tokens"}})


def write_embedding(embedding: Embedding) -> None:
    write(" ".join(f"{value:.9g}" for value in embedding.values) + "\n")


def write_filled(text: FilledText) -> None:
    for mask in text.masks:
        write(f"mask at token {mask.position:,}\n")
        for candidate in mask.candidates:
            write(b"%9.4f  %s\n" % (candidate.logprob, _shown(candidate)))


def write_tokens(tokens: Tokens) -> None:
    for token_id, token in zip(tokens.token_ids, tokens.tokens):
        write(b'%7d  "%s"\n' % (token_id, escape(token)))


def _archive_rows(model: Model) -> list[tuple[str, str]]:
    if not model.open_units:
        return []
    per_1000 = human_bytes(model.archive_bytes_per_1000_tokens)
    used, budget = human_bytes(model.archive_used_bytes), human_bytes(model.archive_budget_bytes)
    return [
        ("archive", f"{per_1000} per 1,000 tokens besides, of which each query opens {model.open_units:,} units"),
        ("archives", f"{used} of {budget}"),
    ]


def _encoder_rows(model: Model) -> list[tuple[str, str]]:
    return [
        ("kind", "encoder: for fma embed and fma fill-mask"),
        ("text length", f"up to {model.max_sequence_length:,} tokens"),
        ("embedding", f"{model.hidden_size:,} numbers"),
        ("mask token", "none" if model.mask_token_id is None else f"id {model.mask_token_id}"),
        ("horizon", f"{model.horizon_tokens:,} tokens"),
        ("requests at once", f"{model.num_slots:,}"),
    ]


def _decoder_rows(model: Model) -> list[tuple[str, str]]:
    limit = f"{model.max_sequence_length:,} tokens" if model.max_sequence_length else "unlimited"
    return [
        ("chat template", "yes" if model.chat else "none"),
        ("sampling", ", ".join(f"{name} {value:g}" for name, value in asdict(model.sampling).items())),
        ("sequence length", limit),
        ("horizon", f"{model.horizon_tokens:,} tokens"),
        ("end of sequence", ", ".join(map(str, model.eos_token_ids))),
        ("sequence cache", f"{human_bytes(model.slot_bytes)}, however long it is"),
        *([("parked session", f"{human_bytes(model.parked_bytes)} between turns")] if model.parked_bytes else []),
        *_archive_rows(model),
        ("full KV cache", f"{human_bytes(model.full_cache_bytes_per_token)} per token"),
        ("slots", f"{model.num_slots:,} ({human_bytes(model.num_slots * model.slot_bytes)})"),
    ]


def _role_rows(model: Model) -> list[tuple[str, str]]:
    if not model.role_tokens:
        return []
    does = "generates" if model.role == "prefill" else "reads"
    return [("role", f"{model.role}, {does} up to {model.role_tokens:,} tokens a call")]


def write_model(model: Model) -> None:
    for name, value in (
        ("model", model.name),
        *([("also called", ", ".join(model.aliases))] if model.aliases else []),
        ("parameters", f"{model.parameters:,} ({human_bytes(model.weight_bytes)})"),
        ("vocabulary", f"{model.vocab_size:,} tokens"),
        ("tokenizer", model.tokenizer or "none: send token ids"),
        *(_encoder_rows(model) if model.encoder else _decoder_rows(model)),
        ("device", model.device),
        ("server", model.server_version),
        *_role_rows(model),
    ):
        write(f"{name:<16}  {value}\n")


def _kept(info: SessionInfo) -> str:
    if info.pinned:
        return "pinned"
    return f"expires after {info.ttl_seconds:g} s" if info.ttl_seconds else "kept"


def _session_json(info: SessionInfo) -> None:
    write_json({**asdict(info), "place": info.place.name.lower()})


def write_session(info: SessionInfo, as_json: bool) -> None:
    """One line."""
    if as_json:
        return _session_json(info)
    size, place = human_bytes(info.bytes), info.place.name.lower() + (", durable" if info.durable else "")
    write(f"{info.session_id}  {info.tokens:,} tokens  {size}  {place}  {_kept(info)}\n")


def write_session_details(info: SessionInfo, as_json: bool) -> None:
    """All of it."""
    if as_json:
        return _session_json(info)
    rows = [
        ("session", info.session_id),
        ("tokens", f"{info.tokens:,}"),
        ("size", human_bytes(info.bytes)),
        ("place", info.place.name.lower() + (", durable" if info.durable else "")),
        ("kept", _kept(info)),
        ("idle", f"{info.idle_seconds:.1f} s"),
        ("rewind points", ", ".join(map(str, info.rewind_points))),
        ("log begins at", f"{info.log_begin:,}"),
    ]
    if info.resume_token:
        rows.append(("resume token", info.resume_token))
    for name, value in rows:
        write(f"{name:<14}  {value}\n")
