"""Puts the messages of a Generate stream together, whoever reads them."""

from __future__ import annotations

from typing import Any

from .options import OnProgress
from .types import (
    CacheMiss,
    Completion,
    Delta,
    FinishReason,
    LayerShares,
    SessionTurn,
    Source,
    TokenLogprob,
    TokenScore,
    Usage,
    copy_fields,
)

_REASONS = {
    1: FinishReason.EOS,
    2: FinishReason.LENGTH,
    3: FinishReason.STOP_SEQUENCE,
    4: FinishReason.TIME_LIMIT,
}


def alternatives(tokens: Any) -> tuple[TokenLogprob, ...]:
    return tuple(copy_fields(TokenLogprob, token) for token in tokens)


def _source(message: Any) -> Source:
    known = message.HasField("first_byte")
    places = {name: getattr(message, name) if known else None for name in ("first_byte", "end_byte")}
    return copy_fields(Source, message, **places)


def _shares(layers: Any) -> tuple[LayerShares, ...]:
    return tuple(copy_fields(LayerShares, layer) for layer in layers)


def token_score(message: Any) -> TokenScore:
    logprob = message.logprob if message.HasField("logprob") else None
    return copy_fields(TokenScore, message, logprob=logprob, top=alternatives(message.top))


def _usage(message: Any) -> Usage:
    misses = tuple(CacheMiss)
    # A later server may have reasons that this client does not know.
    miss = misses[message.cache_miss] if message.cache_miss < len(misses) else CacheMiss.NONE
    return copy_fields(Usage, message, cache_miss=miss)


class Assembly:
    """The state of one generation: its samples and its prompt's tokens."""

    def __init__(self, samples: int, on_progress: OnProgress | None) -> None:
        self.completions = [Completion(index) for index in range(max(samples, 1))]
        self.prompt: list[TokenScore] = []
        self._on_progress = on_progress

    def feed(self, response: Any) -> list[Delta]:
        """Takes the next message; what there is to show of it."""
        match response.WhichOneof("event"):
            case "progress":
                if self._on_progress is not None:
                    self._on_progress(response.progress.processed_tokens, response.progress.total_tokens)
            case "delta":
                return [self._delta(response.delta)]
            case "finished":
                return self._finished(response.finished)
            case "prompt":
                self.prompt += map(token_score, response.prompt.tokens)
        return []

    def _completion(self, index: int) -> Completion:
        # A resumed generation does not say how many samples it has.
        while index >= len(self.completions):
            self.completions.append(Completion(len(self.completions)))
        return self.completions[index]

    def _delta(self, message: Any) -> Delta:
        top = tuple(alternatives(item.tokens) for item in message.top_logprobs)
        sources = tuple(tuple(map(_source, item.sources)) for item in message.sources)
        shares = tuple(_shares(item.layers) for item in message.attention_shares)
        delta = copy_fields(Delta, message, top_logprobs=top, sources=sources, attention_shares=shares)
        completion = self._completion(delta.index)
        completion.text += delta.text
        completion.token_ids += delta.token_ids
        completion.logprobs += delta.logprobs
        completion.top_logprobs += delta.top_logprobs
        completion.sources += delta.sources
        completion.attention_shares += delta.attention_shares
        return delta

    def _finished(self, message: Any) -> list[Delta]:
        completion = self._completion(message.index)
        completion.text += message.text
        completion.finish_reason = _REASONS.get(message.reason)
        completion.usage = _usage(message.usage)
        stopped_by = message.WhichOneof("stopped_by")
        if stopped_by is not None:
            setattr(completion, stopped_by, getattr(message, stopped_by))
        if message.HasField("session"):
            completion.session = copy_fields(SessionTurn, message.session)
        return [Delta(message.text, index=message.index)] if message.text else []
