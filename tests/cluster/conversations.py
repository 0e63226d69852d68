"""Conversations of several turns, and clients that go on after whatever happened to a replica."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from fma_client import AlreadyExistsError, AsyncClient, AsyncSession, FmaError, NotFoundError, SessionInfo
from grpc import StatusCode

TURNS = ("It was a dark and stormy night when the old captain", " But she answered him,", " In the morning they")
TOKENS = 100

#: What a call ends with when its replica, or the way to it, is gone, or while another call uses the session.
GONE = {StatusCode.UNAVAILABLE, StatusCode.INTERNAL, StatusCode.CANCELLED, StatusCode.UNKNOWN, StatusCode.ABORTED}

T = TypeVar("T")


@dataclass
class Conversation:
    """What became of one conversation."""

    name: str
    seed: int
    answers: list[list[int]] = field(default_factory=list)
    messages: list[float] = field(default_factory=list)  #: when tokens came
    news: list[float] = field(default_factory=list)  #: when tokens came that had not come before
    repeated: list[str] = field(default_factory=list)  #: why calls were made again

    async def run(self, address: str, arrived: Callable[[int], None]) -> None:
        """All turns, through `address`; `arrived` is told how many tokens came."""
        async with AsyncClient(address) as client:
            session = client.session(self.name)
            await self._again(lambda: client.create_session(self.name), AlreadyExistsError)
            held = 0
            for number, text in enumerate(TURNS):
                while not await self._turn(session, number, text, arrived):
                    # Whether the turn was kept before its end was lost or not: the session is as it was before.
                    assert await self._tokens(lambda: session.rewind(held)) == held  # noqa: B023
                held = await self._tokens(session.info)
            await self._again(session.delete, NotFoundError)

    async def _tokens(self, call: Callable[[], Awaitable[SessionInfo]]) -> int:
        info = await self._again(call)
        assert info is not None
        return info.tokens

    async def _turn(self, session: AsyncSession, number: int, text: str, arrived: Callable[[int], None]) -> bool:
        """Whether the turn ended well. What comes again must be what came before: somebody has read it."""
        if number == len(self.answers):
            self.answers.append([])
        answer, tokens = self.answers[number], 0
        options = {"max_tokens": TOKENS, "ignore_eos": True, "temperature": 1.0, "seed": self.seed + number}
        try:
            async for delta in session.generate(text, **options):
                known = len(answer)
                for token in delta.token_ids:
                    if tokens == len(answer):
                        answer.append(token)
                    assert answer[tokens] == token, f"{self.name}, turn {number}, token {tokens}"
                    tokens += 1
                self.messages.append(time.monotonic())
                if len(answer) > known:
                    self.news.append(self.messages[-1])
                    arrived(len(answer) - known)
        except FmaError as error:
            self._note(error)
            return False
        assert tokens == TOKENS, f"{self.name}, turn {number}: {tokens} tokens"
        return True

    async def _again(self, call: Callable[[], Awaitable[T]], done: type[FmaError] | None = None) -> T | None:
        """The answer of a call, by whichever replica there is. None where the second call is refused as `done`: the
        first one, whose answer was lost, had done it all."""
        end = time.monotonic() + 120
        lost = False
        while True:
            try:
                return await call()
            except FmaError as error:
                if lost and done is not None and isinstance(error, done):
                    return None
                self._note(error)
                if time.monotonic() > end:
                    raise
            lost = True
            await asyncio.sleep(0.05)

    def _note(self, error: FmaError) -> None:
        if error.code not in GONE:
            raise error
        self.repeated.append(str(error))


def longest_pause(times: list[float], begin: float = 0, end: float = float("inf")) -> float:
    """Seconds between two of the times, of those pauses that overlap the time from `begin` to `end`."""
    return max((later - sooner for sooner, later in pairwise(times) if sooner < end and later > begin), default=0)


def make_conversations(prefix: str, count: int) -> list[Conversation]:
    return [Conversation(f"{prefix}-{number}", 1000 * number) for number in range(count)]
