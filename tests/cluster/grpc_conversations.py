"""Conversations over gRPC, by the Python client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from conversations import TOKENS, TURNS, Conversation
from fma_client import AlreadyExistsError, AsyncClient, AsyncSession, FmaError, NotFoundError, SessionInfo
from grpc import StatusCode

#: What a call ends with when its replica, or the way to it, is gone, or while another call uses the session.
GONE = {StatusCode.UNAVAILABLE, StatusCode.INTERNAL, StatusCode.CANCELLED, StatusCode.UNKNOWN, StatusCode.ABORTED}

T = TypeVar("T")


class SessionConversation(Conversation):
    """A session of the gRPC door."""

    async def run(self, address: str, arrived: Callable[[int], None]) -> None:
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
        """Whether the turn ended well."""
        tokens = 0
        options = {"max_tokens": TOKENS, "ignore_eos": True, "temperature": 1.0, "seed": self.seed + number}
        try:
            async for delta in session.generate(text, **options):
                known = len(self.answers[number])
                tokens = self._hear(number, tokens, delta.token_ids)
                arrived(len(self.answers[number]) - known)
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
