"""The asyncio client. What the methods do, and their arguments, stand at their blocking twins."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, Unpack

import grpc

from . import errors
from ._assembly import Assembly, token_score
from ._connection import Tls, connect, metadata
from ._requests import addressed, create, import_messages, session_info, update
from ._wire import METHODS, admin, bind, generation, sessions
from .options import GenerateOptions, OnProgress, Prompt, make_request, set_prompt
from .retry import NO_RETRY, Attempts, Retry
from .types import Completion, Delta, Model, Score, SessionInfo, Tokens, TokenScore, copy_fields

__all__ = ["AsyncClient", "AsyncGeneration", "AsyncSession"]


_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]


class AsyncGeneration(AsyncIterator[Delta]):
    """A generation under way: iterate over it, or await read(). See Generation."""

    def __init__(
        self, client: AsyncClient, request: Any, timeout: float | None, on_progress: OnProgress | None
    ) -> None:
        # A second call on a session could append the prompt twice.
        self._attempts = Attempts(client.retry, not request.session_id, timeout)
        self._client = client
        self._request = request
        self._assembly = Assembly(request.n, on_progress)
        self._ready: deque[Delta] = deque()
        self._may_restart = True
        self._cancelled = asyncio.Event()
        self._call = self._start()

    @property
    def completions(self) -> list[Completion]:
        return self._assembly.completions

    @property
    def prompt(self) -> list[TokenScore]:
        return self._assembly.prompt

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
            self._ready.extend(self._assembly.feed(await self._receive()))
        return self._ready.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    def _start(self) -> Any:
        return self._client.start("Generate", self._request, self._attempts.timeout())

    async def _receive(self) -> Any:
        while True:
            try:
                response = await self._call.read()
            except grpc.RpcError as error:
                failure = errors.from_rpc(error)
            except asyncio.CancelledError:
                if not self._cancelled.is_set():  # the task was cancelled, not this call
                    self._call.cancel()
                    raise
                failure = errors.cancelled()
            else:
                return self._noted(response)
            await self._restart(failure)

    def _noted(self, response: Any) -> Any:
        if response is _EOF:
            raise StopAsyncIteration
        event = response.WhichOneof("event")
        if event == "interrupted":
            self._request = generation.GenerateRequest(resume_token=response.interrupted.resume_token)
            self._attempts.interrupted()
        self._may_restart = event == "interrupted" or (event == "progress" and self._may_restart)
        return response

    async def _restart(self, error: errors.FmaError) -> None:
        if not self._may_restart:
            raise error
        delay = self._attempts.delay_after(error)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._cancelled.wait(), delay)
            raise errors.cancelled()
        self._call = self._start()


class AsyncSession:
    """A conversation that the server keeps. See Session."""

    def __init__(self, client: AsyncClient, session_id: str) -> None:
        self._client = client
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
        return AsyncGeneration(self._client, make_request(prompt, options, self.session_id), timeout, on_progress)

    async def info(self) -> SessionInfo:
        request = sessions.GetSessionRequest(session_id=self.session_id)
        return session_info(await self._client.call("Get", request))

    async def update(self, *, ttl_seconds: float | None = None, pinned: bool | None = None) -> SessionInfo:
        request = update(self.session_id, ttl_seconds, pinned)
        return session_info(await self._client.call("Update", request))

    async def fork(self, children: int = 1) -> list[AsyncSession]:
        request = sessions.ForkSessionRequest(session_id=self.session_id, children=children)
        response = await self._client.call("Fork", request)
        return [AsyncSession(self._client, child.session_id) for child in response.children]

    async def rewind(self, tokens: int) -> SessionInfo:
        request = sessions.RewindSessionRequest(session_id=self.session_id, tokens=tokens)
        return session_info(await self._client.call("Rewind", request))

    async def export(self, *, head_only: bool = False) -> AsyncIterator[bytes]:
        request = sessions.ExportSessionRequest(session_id=self.session_id, head_only=head_only)
        async for response in self._client.read("Export", request):
            yield response.data

    async def delete(self) -> None:
        await self._client.call("Delete", sessions.DeleteSessionRequest(session_id=self.session_id))


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
        self.retry = retry or Retry()
        self._metadata = metadata(token)
        self._model = model
        self._channel = connect(grpc.aio, address, tls)
        self._calls = bind(self._channel)

    async def close(self) -> None:
        await self._channel.close()

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
        return AsyncGeneration(self, make_request(prompt, options), timeout, on_progress)

    def resume(self, resume_token: str, *, timeout: float | None = None) -> AsyncGeneration:
        return AsyncGeneration(self, generation.GenerateRequest(resume_token=resume_token), timeout, None)

    async def score(self, text: Prompt, *, top_logprobs: int = 0, timeout: float | None = None) -> Score:
        request = generation.ScoreRequest(top_logprobs=top_logprobs)
        set_prompt(request, text)
        tokens: list[TokenScore] = []
        async for response in self.read("Score", request, timeout):
            tokens += map(token_score, response.scores.tokens)
        return copy_fields(Score, response.summary, tokens=tuple(tokens))

    async def tokenize(self, text: str, *, timeout: float | None = None) -> Tokens:
        request = generation.TokenizeRequest(text=text)
        return copy_fields(Tokens, await self.call("Tokenize", request, timeout))

    async def detokenize(self, token_ids: Iterable[int], *, timeout: float | None = None) -> str:
        request = generation.DetokenizeRequest(token_ids=token_ids)
        return str((await self.call("Detokenize", request, timeout)).text)

    async def model(self, *, timeout: float | None = None) -> Model:
        return copy_fields(Model, await self.call("GetModel", generation.GetModelRequest(), timeout))

    async def list_models(self, *, timeout: float | None = None) -> list[Model]:
        response = await self.call("ListModels", generation.ListModelsRequest(), timeout)
        return [copy_fields(Model, model) for model in response.models]

    async def load_model(self, folder: str, name: str = "", *, timeout: float | None = None) -> Model:
        request = admin.LoadModelRequest(folder=folder, name=name)
        return copy_fields(Model, await self.call("LoadModel", request, timeout))

    async def unload_model(
        self, name: str, *, grace_seconds: float | None = None, timeout: float | None = None
    ) -> None:
        request = admin.UnloadModelRequest(name=name, grace_seconds=grace_seconds)
        await self.call("UnloadModel", request, timeout)

    async def create_session(
        self, session_id: str = "", *, ttl_seconds: float | None = None, pinned: bool = False
    ) -> AsyncSession:
        request = create(session_id, ttl_seconds, pinned)
        return AsyncSession(self, (await self.call("Create", request)).session_id)

    def session(self, session_id: str) -> AsyncSession:
        return AsyncSession(self, session_id)

    async def list_sessions(self, *, page_size: int = 100) -> AsyncIterator[SessionInfo]:
        request = sessions.ListSessionsRequest(page_size=page_size)
        while True:
            page = await self.call("List", request)
            for item in page.sessions:
                yield session_info(item)
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return

    async def import_session(
        self,
        blob: bytes | Iterable[bytes],
        session_id: str = "",
        *,
        ttl_seconds: float | None = None,
        pinned: bool = False,
    ) -> AsyncSession:
        messages = import_messages(addressed(create(session_id, ttl_seconds, pinned), self._model), blob)
        attempts = Attempts(NO_RETRY, False, None)  # the pieces can be read only once
        return AsyncSession(self, (await self._attempt("Import", messages, attempts)).session_id)

    # What AsyncSession and AsyncGeneration use; applications need none of it.

    def start(self, name: str, request: Any, timeout: float | None) -> Any:
        return self._calls[name](addressed(request, self._model), timeout=timeout, metadata=self._metadata)

    async def call(self, name: str, request: Any, timeout: float | None = None) -> Any:
        return await self._attempt(name, request, Attempts(self.retry, METHODS[name].idempotent, timeout))

    async def _attempt(self, name: str, request: Any, attempts: Attempts) -> Any:
        while True:
            try:
                return await self.start(name, request, attempts.timeout())
            except grpc.RpcError as error:
                failure = errors.from_rpc(error)
            await asyncio.sleep(attempts.delay_after(failure))

    async def read(self, name: str, request: Any, timeout: float | None = None) -> AsyncIterator[Any]:
        attempts = Attempts(self.retry, METHODS[name].idempotent, timeout)
        started = False
        while True:
            call = self.start(name, request, attempts.timeout())
            try:
                async for response in call:
                    started = True
                    yield response
                return
            except grpc.RpcError as error:
                failure = errors.from_rpc(error)
            finally:
                call.cancel()
            if started:
                raise failure
            await asyncio.sleep(attempts.delay_after(failure))
