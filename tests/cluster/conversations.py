"""Conversations of several turns, and clients that go on after whatever happened to a replica."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

TURNS = ("It was a dark and stormy night when the old captain", " But she answered him,", " In the morning they")
TOKENS = 100


@dataclass
class Conversation(ABC):
    """What became of one conversation. Its answers are ids of tokens, or characters where a door shows no ids."""

    name: str
    seed: int
    answers: list[list[int | str]] = field(default_factory=lambda: [[] for _ in TURNS])
    messages: list[float] = field(default_factory=list)  #: when tokens came
    news: list[float] = field(default_factory=list)  #: when tokens came that had not come before
    repeated: list[str] = field(default_factory=list)  #: why calls were made again

    @abstractmethod
    async def run(self, address: str, arrived: Callable[[int], None]) -> None:
        """All turns, through `address`; `arrived` is told how many tokens came."""

    def _hear(self, number: int, position: int, pieces: Iterable[int | str]) -> int:
        """Takes what has come of an answer from `position` on, and returns where the next comes. What comes again must
        be what came before: somebody has read it."""
        answer = self.answers[number]
        known = len(answer)
        for piece in pieces:
            if position == len(answer):
                answer.append(piece)
            assert answer[position] == piece, f"{self.name}, turn {number}, at {position}"
            position += 1
        self.messages.append(time.monotonic())
        if len(answer) > known:
            self.news.append(self.messages[-1])
        return position


def longest_pause(times: list[float], begin: float = 0, end: float = float("inf")) -> float:
    """Seconds between two of the times, of those pauses that overlap the time from `begin` to `end`."""
    return max((later - sooner for sooner, later in pairwise(times) if sooner < end and later > begin), default=0)
