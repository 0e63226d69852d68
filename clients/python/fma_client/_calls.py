"""Connections, and how an RPC is made on them: with the token, for the model, and sent again where that helps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

import grpc

from . import errors
from ._connection import Tls, connect, metadata
from ._proxy import proxy_hint
from ._requests import Ask, addressed, session_hint
from ._wire import METHODS, bind
from .retry import NO_RETRY, Attempts, Retry

T = TypeVar("T")


class Channel:
    """A connection of `module`, grpc or grpc.aio. See Client for the rest."""

    def __init__(
        self, module: Any, address: str, tls: Tls | bool, token: str | None, model: str, retry: Retry | None
    ) -> None:
        self.retry = retry or Retry()
        self.model = model
        self._metadata = metadata(token)
        self._hint = proxy_hint(address)
        self._channel = connect(module, address, tls)
        self._methods = bind(self._channel)

    def start(self, rpc: str, request: Any, timeout: float | None) -> Any:
        """One attempt at an RPC: the answer, or the stream of answers."""
        sent = self._metadata + session_hint(request)
        return self._methods[rpc](addressed(request, self.model), timeout=timeout, metadata=sent)

    def delay_after(self, error: grpc.RpcError, attempts: Attempts, *, started: bool = False) -> float:
        """Seconds to wait before the next attempt; raises what `error` stands for when there must be none.

        A stream of which something has arrived is never read again.
        """
        failure = errors.from_rpc(error, self._hint)
        failure.__cause__ = None  # raised here it would show gRPC's traceback too
        if started:
            raise failure
        return attempts.delay_after(failure)

    def attempts(self, rpc: str, timeout: float | None) -> Attempts:
        method = METHODS[rpc]
        # What is sent in a stream can be read only once.
        retry = NO_RETRY if method.kind == "stream_unary" else self.retry
        return Attempts(retry, method.idempotent, timeout)


class Calls(Channel):
    """Of the blocking client."""

    def close(self) -> None:
        self._channel.close()

    def ask(self, ask: Ask[T], timeout: float | None = None) -> T:
        """The answer of a unary RPC."""
        attempts = self.attempts(ask.rpc, timeout)
        while True:
            try:
                return ask.answer(self.start(ask.rpc, ask.request, attempts.timeout()))
            except grpc.RpcError as error:
                delay = self.delay_after(error, attempts)
            time.sleep(delay)

    def read(self, rpc: str, request: Any, timeout: float | None = None) -> Iterator[Any]:
        """The answers of a stream, which is sent again only while none has arrived."""
        attempts = self.attempts(rpc, timeout)
        started = False
        while True:
            call = self.start(rpc, request, attempts.timeout())
            try:
                for response in call:
                    started = True
                    yield response
                return
            except grpc.RpcError as error:
                delay = self.delay_after(error, attempts, started=started)
            finally:
                call.cancel()
            time.sleep(delay)


class AsyncCalls(Channel):
    """Of the asyncio client: as Calls."""

    async def close(self) -> None:
        await self._channel.close()

    async def ask(self, ask: Ask[T], timeout: float | None = None) -> T:
        attempts = self.attempts(ask.rpc, timeout)
        while True:
            try:
                return ask.answer(await self.start(ask.rpc, ask.request, attempts.timeout()))
            except grpc.RpcError as error:
                delay = self.delay_after(error, attempts)
            await asyncio.sleep(delay)

    async def read(self, rpc: str, request: Any, timeout: float | None = None) -> AsyncIterator[Any]:
        attempts = self.attempts(rpc, timeout)
        started = False
        while True:
            call = self.start(rpc, request, attempts.timeout())
            try:
                async for response in call:
                    started = True
                    yield response
                return
            except grpc.RpcError as error:
                delay = self.delay_after(error, attempts, started=started)
            finally:
                call.cancel()
            await asyncio.sleep(delay)
