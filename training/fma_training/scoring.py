"""Bits per byte of a text, read as one sequence in windows that are scored from scratch.

Windows of N tokens follow each other. Within a window the logits at position i predict token i + 1, so its first token
is not scored. Bits per byte = nats of the scored tokens / ln 2 / bytes that the scored tokens spell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .arrays import Floats, Integers
from .objective import Questions
from .tokenizer import Tokenizer


@dataclass
class Score:
    """Sums over scored tokens."""

    nats: float = 0.0
    tokens: int = 0
    bytes: int = 0

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.bytes if self.bytes else math.nan

    @property
    def perplexity(self) -> float:
        return math.exp(self.nats / self.tokens) if self.tokens else math.nan

    def add(self, nats: Floats, sizes: Integers) -> None:
        self.nats += float(nats.sum(dtype=np.float64))
        self.tokens += nats.size
        self.bytes += int(sizes.sum())


def token_sizes(tokenizer: Tokenizer, vocab_size: int) -> Integers:
    """The number of bytes that each id spells [vocab_size]; 0 for ids that the tokenizer does not have."""
    count = min(tokenizer.vocab_size, vocab_size)
    sizes = np.zeros(vocab_size, np.int64)
    sizes[:count] = [len(tokenizer.decode_bytes([i])) for i in range(count)]
    return sizes


@torch.no_grad()
def answer_nats(body: nn.Module, head: Tensor, questions: Questions) -> Floats:
    """-ln probability of every answer: [B, k]."""
    hidden = questions.asked(body(questions.inputs))
    chunks = zip(hidden.split(1024), questions.answers.flatten().split(1024))
    nats = [F.cross_entropy((h @ head.to(h.dtype).t()).float(), t, reduction="none") for h, t in chunks]
    return torch.cat(nats).cpu().numpy().reshape(questions.answers.shape)


def windows_of(tokens: Integers, context: int, batch: int) -> Iterator[Integers]:
    """Batches of windows [B, context], and the remaining tokens as a shorter last window [1, rest]."""
    full = len(tokens) // context
    for start in range(0, full, batch):
        stop = min(start + batch, full)
        yield np.asarray(tokens[start * context : stop * context], np.int64).reshape(-1, context)
    if len(tokens) - full * context > 1:
        yield np.asarray(tokens[full * context :], np.int64)[None]
