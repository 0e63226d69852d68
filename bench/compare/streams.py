"""Streams of tokens from a server, with the times at which they came."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from peers import Peer

Ids = Sequence[int]
_TIMEOUT = 3600.0  # seconds


@dataclass(frozen=True)
class Moment:
    clock: float
    processor: float  # seconds of the server


@dataclass(frozen=True)
class Streamed:
    """One answer: when it was asked for, and when each message of it came: with several tokens, or none at the end."""

    tokens: int
    asked: Moment
    first: Moment
    last: Moment
    arrivals: list[float]

    def tokens_between(self, begin: float, end: float) -> float:
        """About; tokens are taken to be spread evenly over the messages."""
        return self.tokens * sum(begin < at <= end for at in self.arrivals) / len(self.arrivals)


def now(peer: Peer) -> Moment:
    return Moment(time.monotonic(), peer.processor_seconds())


def stream(peer: Peer, ids: Ids, count: int) -> Streamed:
    """Exactly `count` tokens, greedily, after a prompt that no cache knows."""
    request = {"prompt": list(ids), "max_tokens": count, "temperature": 0, "ignore_eos": True, "stream": True}
    request |= {"stream_options": {"include_usage": True}, "skip_prefix_cache": True, "cache_prompt": False}
    connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=_TIMEOUT)
    asked, first = now(peer), None
    arrivals: list[float] = []
    usage: dict[str, int] = {}
    connection.request("POST", "/v1/completions", json.dumps(request), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != http.client.OK:
        raise RuntimeError(f"{peer.name}: HTTP {response.status}: {response.read(500).decode('utf-8', 'replace')}")
    for line in response:
        if not line.startswith(b"data: {"):
            continue
        message = json.loads(line[len(b"data: ") :])
        usage = message.get("usage") or usage
        if message.get("choices"):
            arrivals.append(time.monotonic())
            first = first or now(peer)
    last = now(peer)
    connection.close()
    if first is None or usage.get("completion_tokens") != count:
        raise RuntimeError(f"{peer.name}: {usage.get('completion_tokens')} tokens came; wanted: {count}")
    return Streamed(count, asked, first, Moment(arrivals[-1], last.processor), arrivals)


@dataclass(frozen=True)
class OneStream:
    """Tokens for each second, by the clock and of processor time."""

    prefill: float
    prefill_processor: float
    decode: float
    decode_processor: float


def one_stream(peer: Peer, prompt: Ids, count: int) -> OneStream:
    done = stream(peer, prompt, count)
    return OneStream(
        len(prompt) / (done.first.clock - done.asked.clock),
        _rate(len(prompt), done.first.processor - done.asked.processor),
        (count - 1) / (done.last.clock - done.first.clock),
        _rate(count - 1, done.last.processor - done.first.processor),
    )


@dataclass(frozen=True)
class ManyStreams:
    """Tokens for each second, of all together; gaps between the messages of a stream, in milliseconds."""

    tokens: float
    tokens_processor: float
    median_gap: float
    worst_gap: float


def many_streams(peer: Peer, prompts: Sequence[Ids], count: int) -> ManyStreams:
    """All begin at once; tokens count from when the last of them has its first, so that no prompt is read meanwhile."""
    with ThreadPoolExecutor(len(prompts)) as threads:
        done = list(threads.map(lambda prompt: stream(peer, prompt, count), prompts))
    begin = max((each.first for each in done), key=lambda moment: moment.clock)
    end = min((each.last for each in done), key=lambda moment: moment.clock)
    tokens = sum(each.tokens_between(begin.clock, end.clock) for each in done)
    gaps = [
        1000 * (later - earlier)
        for each in done
        for earlier, later in zip(each.arrivals, each.arrivals[1:], strict=False)
        if begin.clock <= earlier and later <= end.clock
    ]
    if not gaps:
        raise RuntimeError(f"{peer.name}: no two streams overlapped; allowed: more tokens of each")
    processor = _rate(tokens, end.processor - begin.processor)
    return ManyStreams(tokens / (end.clock - begin.clock), processor, statistics.median(gaps), max(gaps))


def _rate(tokens: float, seconds: float) -> float:
    """Processor time comes in hundredths of a second."""
    return tokens / max(seconds, 0.01)
