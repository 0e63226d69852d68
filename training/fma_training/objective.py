"""What a model must predict in training: a decoder the next token, an encoder tokens that were hidden from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .checks import Words, refusal
from .config import FmaConfig

HIDDEN_SHARE = 0.15
_MASKED, _RANDOM = 0.8, 0.1  # of the hidden tokens; the rest stay as they are (BERT, arXiv 1810.04805)


@dataclass(frozen=True)
class Questions:
    """The tokens that are given, and those to predict; every sequence has equally many."""

    inputs: Tensor  # [B, n]
    places: Tensor | None  # [B, k] positions of the answers; None: everywhere, k = n
    answers: Tensor  # [B, k]

    def asked(self, hidden: Tensor) -> Tensor:
        """From all hidden states [B, n, D], those that the answers are predicted from [B * k, D]."""
        if self.places is None:
            return hidden.flatten(0, 1)
        return hidden.gather(1, self.places[..., None].expand(-1, -1, hidden.shape[2])).flatten(0, 1)

    def split(self, size: int) -> list[Questions]:
        """Micro-batches of `size` sequences."""
        places = [None] * len(self.inputs) if self.places is None else self.places.split(size)
        return [Questions(*columns) for columns in zip(self.inputs.split(size), places, self.answers.split(size))]


Objective = Callable[[Tensor, np.random.Generator], Questions]  # of windows [B, n + 1]


def make_objective(config: FmaConfig) -> Objective:
    """The objective of the config's architecture."""
    if config.fma.causal:
        return lambda windows, rng: next_tokens(windows)
    mask, vocab_size = config.mask_token_id, config.vocab_size
    if mask is None:
        raise ValueError(refusal("mask_token_id", Words("missing"), "an id, to train an encoder"))
    return lambda windows, rng: hidden_tokens(windows[:, :-1], rng, mask, vocab_size)


def next_tokens(windows: Tensor) -> Questions:
    """Every token of windows [B, n + 1] except the first is to be predicted."""
    return Questions(windows[:, :-1], None, windows[:, 1:])


def hidden_tokens(tokens: Tensor, rng: np.random.Generator, mask: int, vocab_size: int) -> Questions:
    """A fixed share of each sequence's tokens [B, n] is to be predicted: most are masked, some replaced by any
    token."""
    count = max(1, round(HIDDEN_SHARE * tokens.shape[1]))
    order = rng.random(tokens.shape).argsort(1)[:, :count]
    places = torch.from_numpy(np.sort(order, 1)).to(tokens.device)
    answers = tokens.gather(1, places)
    fate = torch.from_numpy(rng.random(order.shape)).to(tokens.device)
    other = torch.from_numpy(rng.integers(0, vocab_size, order.shape)).to(tokens.device)
    shown = torch.where(fate < _MASKED, mask, torch.where(fate < _MASKED + _RANDOM, other, answers))
    return Questions(tokens.scatter(1, places, shown), places, answers)
