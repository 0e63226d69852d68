"""The blocking client."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self, Unpack

import grpc

from . import errors
from ._assembly import Assembly, token_score
from ._connection import Tls, connect, metadata
from ._requests import addressed, create, import_messages, session_info
from ._wire import METHODS, admin, bind, generation, sessions
from .options import GenerateOptions, OnProgress, Prompt, make_request, set_prompt
from .retry import NO_RETRY, Attempts, Retry
from .session import Session
from .types import Completion, Delta, Model, Score, SessionInfo, Tokens, TokenScore, copy_fields

__all__ = ["Client", "Generation"]


class Generation(Iterator[Delta]):
    """A generation under way: iterate over it, or read() it whole.

    Leaving a `with` block, or dropping the object, cancels what is left; the server stops within one step.

    >>> with client.generate("It was a dark", max_tokens=1000) as story:
    ...     for delta in story:
    ...         if len(story.completions[0].token_ids) >= 5:
    ...             break
    """

    def __init__(self, client: Client, request: Any, timeout: float | None, on_progress: OnProgress | None) -> None:
        # A second call on a session could append the prompt twice.
        self._attempts = Attempts(client.retry, not request.session_id, timeout)
        self._client = client
        self._request = request
        self._assembly = Assembly(request.n, on_progress)
        self._ready: deque[Delta] = deque()
        self._may_restart = True
        self._cancelled = threading.Event()
        self._call = self._start()

    @property
    def completions(self) -> list[Completion]:
        """The samples, as far as they have arrived."""
        return self._assembly.completions

    @property
    def prompt(self) -> list[TokenScore]:
        """The prompt's tokens, with `echo` or `prompt_logprobs`."""
        return self._assembly.prompt

    def read(self) -> list[Completion]:
        """Waits for the end. One completion for each of the `n` samples."""
        for _ in self:
            pass
        return self.completions

    def text(self) -> str:
        """Waits for the end. The text of the first sample.

        >>> client.generate("It was a dark", max_tokens=3, seed=1).text() != ""
        True
        """
        return self.read()[0].text

    def cancel(self) -> None:
        """Ends it; safe from another thread. Whoever iterates gets CancelledError."""
        self._cancelled.set()
        self._call.cancel()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Delta:
        while not self._ready:
            self._ready.extend(self._assembly.feed(self._receive()))
        return self._ready.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def __del__(self) -> None:
        if hasattr(self, "_call"):
            self._call.cancel()

    def _start(self) -> Any:
        return self._client.start("Generate", self._request, self._attempts.timeout())

    def _receive(self) -> Any:
        while True:
            try:
                response = next(self._call)
            except grpc.RpcError as error:
                failure = errors.from_rpc(error)
            else:
                return self._noted(response)
            self._restart(failure)

    def _noted(self, response: Any) -> Any:
        event = response.WhichOneof("event")
        if event == "interrupted":
            self._request = generation.GenerateRequest(resume_token=response.interrupted.resume_token)
            self._attempts.interrupted()
        self._may_restart = event == "interrupted" or (event == "progress" and self._may_restart)
        return response

    def _restart(self, error: errors.FmaError) -> None:
        if not self._may_restart:
            raise error
        if self._cancelled.wait(self._attempts.delay_after(error)):
            raise errors.cancelled()
        self._call = self._start()
        if self._cancelled.is_set():  # just before the new call was there
            self._call.cancel()


class Client:
    """Calls to the FMA Server at `address`, HOST:PORT. Thread-safe. Connects at the first call.

    `tls`: True for a server with a certificate that the system trusts, or a Tls. `token`: sent with every call;
    without TLS it crosses the network in the clear. `model`: which of the served models every call means, by name;
    default: the first. `retry`: see Retry. Calls raise FmaError.

    >>> from fma_client import Client
    >>> with Client(address) as client:
    ...     for delta in client.generate("It was a dark", max_tokens=20, temperature=0):
    ...         print(delta.text, end="")  # doctest: +SKIP
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
        self._channel = connect(grpc, address, tls)
        self._calls = bind(self._channel)

    def close(self) -> None:
        """Ends the connection and every call on it."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def generate(
        self,
        prompt: Prompt,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Generation:
        """Continues `prompt`, a text or token ids. Returns at once; iterate over the result.

        `timeout` seconds bound the whole call, waiting and sending again included.

        >>> story = client.generate("It was a dark", max_tokens=8, seed=7, stop=["."])
        >>> "".join(delta.text for delta in story) == story.completions[0].text
        True
        >>> story.completions[0].usage.prompt_tokens
        4
        """
        return Generation(self, make_request(prompt, options), timeout, on_progress)

    def resume(self, resume_token: str, *, timeout: float | None = None) -> Generation:
        """Goes on with a generation that a server interrupted; see SessionInfo.resume_token."""
        return Generation(self, generation.GenerateRequest(resume_token=resume_token), timeout, None)

    def score(self, text: Prompt, *, top_logprobs: int = 0, timeout: float | None = None) -> Score:
        """The log-probability of each token of a text, or of token ids.

        >>> score = client.score("It was a dark and stormy night")
        >>> score.scored_tokens == len(score.tokens) - 1 and score.total_logprob < 0
        True
        """
        request = generation.ScoreRequest(top_logprobs=top_logprobs)
        set_prompt(request, text)
        tokens: list[TokenScore] = []
        for response in self.read("Score", request, timeout):
            tokens += map(token_score, response.scores.tokens)
        return copy_fields(Score, response.summary, tokens=tuple(tokens))

    def tokenize(self, text: str, *, timeout: float | None = None) -> Tokens:
        """
        >>> tokens = client.tokenize("dark")
        >>> b"".join(tokens.tokens).strip()
        b'dark'
        """
        response = self.call("Tokenize", generation.TokenizeRequest(text=text), timeout)
        return copy_fields(Tokens, response)

    def detokenize(self, token_ids: Iterable[int], *, timeout: float | None = None) -> str:
        """
        >>> client.detokenize(client.tokenize("It was a dark").token_ids)
        'It was a dark'
        """
        request = generation.DetokenizeRequest(token_ids=token_ids)
        return str(self.call("Detokenize", request, timeout).text)

    def model(self, *, timeout: float | None = None) -> Model:
        """
        >>> model = client.model()
        >>> model.name, model.tokenizer
        ('fma-books-11m', 'sentencepiece')
        """
        return copy_fields(Model, self.call("GetModel", generation.GetModelRequest(), timeout))

    def list_models(self, *, timeout: float | None = None) -> list[Model]:
        """All that the server serves, the default first.

        >>> [model.name for model in client.list_models()]
        ['fma-books-11m']
        """
        response = self.call("ListModels", generation.ListModelsRequest(), timeout)
        return [copy_fields(Model, model) for model in response.models]

    def load_model(self, folder: str, name: str = "", *, timeout: float | None = None) -> Model:
        """Serves a checkpoint `folder` of the server's machine. Needs the token of an administrator."""
        request = admin.LoadModelRequest(folder=folder, name=name)
        return copy_fields(Model, self.call("LoadModel", request, timeout))

    def unload_model(self, name: str, *, grace_seconds: float | None = None, timeout: float | None = None) -> None:
        """Ends serving a model, after `grace_seconds` for its requests. Needs the token of an administrator."""
        request = admin.UnloadModelRequest(name=name, grace_seconds=grace_seconds)
        self.call("UnloadModel", request, timeout)

    def create_session(
        self, session_id: str = "", *, ttl_seconds: float | None = None, pinned: bool = False
    ) -> Session:
        """A new, empty session. As a context manager it is deleted at the end.

        Without `session_id` the server chooses one. `ttl_seconds` is the time without use after which it expires, 0
        for never; default: the server's.
        """
        request = create(session_id, ttl_seconds, pinned)
        return Session(self, self.call("Create", request).session_id)

    def session(self, session_id: str) -> Session:
        """A session that is there; asks the server nothing."""
        return Session(self, session_id)

    def list_sessions(self, *, page_size: int = 100) -> Iterator[SessionInfo]:
        """The caller's sessions in order of their ids, fetched page by page."""
        request = sessions.ListSessionsRequest(page_size=page_size)
        while True:
            page = self.call("List", request)
            yield from (session_info(item) for item in page.sessions)
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return

    def import_session(
        self,
        blob: bytes | Iterable[bytes],
        session_id: str = "",
        *,
        ttl_seconds: float | None = None,
        pinned: bool = False,
    ) -> Session:
        """A session made of what Session.export() gave, here or on another server of the same model."""
        messages = import_messages(addressed(create(session_id, ttl_seconds, pinned), self._model), blob)
        attempts = Attempts(NO_RETRY, False, None)  # the pieces can be read only once
        return Session(self, self._attempt("Import", messages, attempts).session_id)

    # What Session and Generation use; applications need none of it.

    def start(self, name: str, request: Any, timeout: float | None) -> Any:
        """One attempt at an RPC: the answer, or the stream of answers."""
        return self._calls[name](addressed(request, self._model), timeout=timeout, metadata=self._metadata)

    def call(self, name: str, request: Any, timeout: float | None = None) -> Any:
        """The answer of a unary RPC."""
        return self._attempt(name, request, Attempts(self.retry, METHODS[name].idempotent, timeout))

    def _attempt(self, name: str, request: Any, attempts: Attempts) -> Any:
        while True:
            try:
                return self.start(name, request, attempts.timeout())
            except grpc.RpcError as error:
                failure = errors.from_rpc(error)
            time.sleep(attempts.delay_after(failure))

    def read(self, name: str, request: Any, timeout: float | None = None) -> Iterator[Any]:
        """The answers of a stream, which is sent again only while none has arrived."""
        attempts = Attempts(self.retry, METHODS[name].idempotent, timeout)
        started = False
        while True:
            call = self.start(name, request, attempts.timeout())
            try:
                for response in call:
                    started = True
                    yield response
                return
            except grpc.RpcError as error:
                failure = errors.from_rpc(error)
            finally:
                call.cancel()
            if started:
                raise failure
            time.sleep(attempts.delay_after(failure))
