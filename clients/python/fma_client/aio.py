"""The asyncio client. What the methods do, and their arguments, stand at their blocking twins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, Unpack

import grpc

from . import _requests, errors
from ._calls import AsyncCalls
from ._connection import Tls
from ._progress import Progress
from ._wire import generation
from .options import GenerateOptions, Messages, OnProgress, Prompt, make_chat, make_request
from .retry import Retry
from .types import Completion, Delta, Embedding, FilledText, Model, Score, SessionInfo, Tokens

__all__ = ["AsyncClient", "AsyncGeneration", "AsyncSession"]


_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]


class AsyncGeneration(Progress, AsyncIterator[Delta]):
    """A generation under way: iterate over it, or await read(). See Generation."""

    def __init__(self, calls: AsyncCalls, request: Any, timeout: float | None, on_progress: OnProgress | None) -> None:
        super().__init__(calls, request, timeout, on_progress)
        self._cancelled = asyncio.Event()
        self._call = self._start()

    async def read(self) -> list[Completion]:
        async for _ in self:
            pass
        return self.completions

    async def text(self) -> str:
        return (await self.read())[0].text

    def cancel(self) -> None:
        self._cancelled.set()
        self._call.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        while not self._ready:
            response = await self._receive()
            if response is _EOF:
                raise StopAsyncIteration
            self._take(response)
        return self._ready.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    async def _receive(self) -> Any:
        while True:
            try:
                return await self._call.read()
            except grpc.RpcError as error:
                delay = self._delay_after(error)
            except asyncio.CancelledError:
                if self._cancelled.is_set():
                    raise errors.cancelled() from None
                self._call.cancel()  # the task was cancelled, not this call
                raise
            with suppress(TimeoutError):
                await asyncio.wait_for(self._cancelled.wait(), delay)
                raise errors.cancelled()
            self._call = self._start()


class AsyncSession:
    """A conversation that the server keeps. See Session."""

    def __init__(self, calls: AsyncCalls, session_id: str) -> None:
        self._calls = calls
        self.session_id = session_id

    def __repr__(self) -> str:
        return f"AsyncSession({self.session_id!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(errors.NotFoundError):  # expired, or deleted before
            await self.delete()

    def generate(
        self,
        prompt: Prompt | None = None,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> AsyncGeneration:
        return AsyncGeneration(self._calls, make_request(prompt, options, self.session_id), timeout, on_progress)

    def chat(
        self,
        messages: Messages = (),
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> AsyncGeneration:
        return AsyncGeneration(self._calls, make_chat(messages, options, self.session_id), timeout, on_progress)

    async def info(self) -> SessionInfo:
        return await self._calls.ask(_requests.get(self.session_id))

    async def update(self, *, ttl_seconds: float | None = None, pinned: bool | None = None) -> SessionInfo:
        return await self._calls.ask(_requests.update(self.session_id, ttl_seconds, pinned))

    async def fork(self, children: int = 1) -> list[AsyncSession]:
        names = await self._calls.ask(_requests.fork(self.session_id, children))
        return [AsyncSession(self._calls, name) for name in names]

    async def rewind(self, tokens: int) -> SessionInfo:
        return await self._calls.ask(_requests.rewind(self.session_id, tokens))

    async def export(self, *, head_only: bool = False) -> AsyncIterator[bytes]:
        async for response in self._calls.read("Export", _requests.export(self.session_id, head_only)):
            yield response.data

    async def delete(self) -> None:
        await self._calls.ask(_requests.delete(self.session_id))


class AsyncClient:
    """Calls to the FMA Server at `address`, for one event loop. See Client.

    >>> import asyncio
    >>> from fma_client import AsyncClient
    >>> async def main():
    ...     async with AsyncClient(address) as client:
    ...         streams = [client.generate("It was a dark", max_tokens=5, seed=seed) for seed in range(3)]
    ...         return await asyncio.gather(*(stream.text() for stream in streams))
    >>> len(asyncio.run(main()))
    3
    """

    def __init__(
        self,
        address: str = "localhost:50051",
        *,
        tls: Tls | bool = False,
        token: str | None = None,
        model: str = "",
        retry: Retry | None = None,
    ) -> None:
        self._calls = AsyncCalls(grpc.aio, address, tls, token, model, retry)

    async def close(self) -> None:
        await self._calls.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def generate(
        self,
        prompt: Prompt,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> AsyncGeneration:
        return AsyncGeneration(self._calls, make_request(prompt, options), timeout, on_progress)

    def chat(
        self,
        messages: Messages,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> AsyncGeneration:
        return AsyncGeneration(self._calls, make_chat(messages, options), timeout, on_progress)

    def resume(self, resume_token: str, *, timeout: float | None = None) -> AsyncGeneration:
        return AsyncGeneration(self._calls, generation.GenerateRequest(resume_token=resume_token), timeout, None)

    async def score(
        self, text: Prompt, *, top_logprobs: int = 0, no_archive: bool = False, timeout: float | None = None
    ) -> Score:
        request = _requests.score(text, top_logprobs, no_archive)
        return _requests.score_of([response async for response in self._calls.read("Score", request, timeout)])

    async def embed(
        self, inputs: Iterable[Prompt], *, truncate: bool = False, timeout: float | None = None
    ) -> list[Embedding]:
        request = _requests.embed(inputs, truncate)
        return _requests.embeddings_of([response async for response in self._calls.read("Embed", request, timeout)])

    async def fill_mask(
        self, inputs: Iterable[Prompt], *, mask: str = "", top: int | None = None, timeout: float | None = None
    ) -> list[FilledText]:
        request = _requests.fill_mask(inputs, mask, top)
        return _requests.filled_of([response async for response in self._calls.read("FillMask", request, timeout)])

    async def tokenize(self, text: str, *, timeout: float | None = None) -> Tokens:
        return await self._calls.ask(_requests.tokenize(text), timeout)

    async def detokenize(self, token_ids: Iterable[int], *, timeout: float | None = None) -> str:
        return await self._calls.ask(_requests.detokenize(token_ids), timeout)

    async def model(self, *, timeout: float | None = None) -> Model:
        return await self._calls.ask(_requests.model(), timeout)

    async def list_models(self, *, timeout: float | None = None) -> list[Model]:
        return await self._calls.ask(_requests.list_models(), timeout)

    async def load_model(self, folder: str, name: str = "", *, timeout: float | None = None) -> Model:
        return await self._calls.ask(_requests.load_model(folder, name), timeout)

    async def unload_model(
        self, name: str, *, grace_seconds: float | None = None, timeout: float | None = None
    ) -> None:
        await self._calls.ask(_requests.unload_model(name, grace_seconds), timeout)

    async def is_serving(self, *, timeout: float | None = None) -> bool:
        return await self._calls.ask(_requests.is_serving(), timeout)

    async def create_session(
        self, session_id: str = "", *, ttl_seconds: float | None = None, pinned: bool = False
    ) -> AsyncSession:
        return self.session(await self._calls.ask(_requests.create(session_id, ttl_seconds, pinned)))

    def session(self, session_id: str) -> AsyncSession:
        return AsyncSession(self._calls, session_id)

    async def list_sessions(self, *, page_size: int = 100) -> AsyncIterator[SessionInfo]:
        token: str | None = ""
        while token is not None:
            page, following = await self._calls.ask(_requests.list_sessions(page_size, token))
            token = following or None
            for info in page:
                yield info

    async def import_session(
        self,
        blob: bytes | Iterable[bytes],
        session_id: str = "",
        *,
        ttl_seconds: float | None = None,
        pinned: bool = False,
    ) -> AsyncSession:
        session = _requests.addressed(_requests.new_session(session_id, ttl_seconds, pinned), self._calls.model)
        return self.session(await self._calls.ask(_requests.import_session(session, blob)))
