"""The blocking client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, Unpack

import grpc

from . import _requests
from ._calls import Calls
from ._connection import Tls
from ._wire import generation
from .generation import Generation
from .options import GenerateOptions, Messages, OnProgress, Prompt, make_chat, make_request
from .retry import Retry
from .session import Session
from .types import Embedding, FilledText, Model, Score, SessionInfo, Tokens

__all__ = ["Client"]


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
        self._calls = Calls(grpc, address, tls, token, model, retry)

    def close(self) -> None:
        """Ends the connection and every call on it."""
        self._calls.close()

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
        return Generation(self._calls, make_request(prompt, options), timeout, on_progress)

    def chat(
        self,
        messages: Messages,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Generation:
        """Answers a conversation, of which the model's chat template makes the prompt. Otherwise as generate().

        >>> client.chat([{"role": "user", "content": "Hello"}], max_tokens=5).text() != ""
        True
        """
        return Generation(self._calls, make_chat(messages, options), timeout, on_progress)

    def resume(self, resume_token: str, *, timeout: float | None = None) -> Generation:
        """Goes on with a generation that a server interrupted; see SessionInfo.resume_token."""
        return Generation(self._calls, generation.GenerateRequest(resume_token=resume_token), timeout, None)

    def score(
        self, text: Prompt, *, top_logprobs: int = 0, no_archive: bool = False, timeout: float | None = None
    ) -> Score:
        """The log-probability of each token of a text, or of token ids.

        >>> score = client.score("It was a dark and stormy night")
        >>> score.scored_tokens == len(score.tokens) - 1 and score.total_logprob < 0
        True
        """
        request = _requests.score(text, top_logprobs, no_archive)
        return _requests.score_of(list(self._calls.read("Score", request, timeout)))

    def embed(
        self, inputs: Iterable[Prompt], *, truncate: bool = False, timeout: float | None = None
    ) -> list[Embedding]:
        """A vector for each of some texts, or lists of token ids, in their order; of an encoder.

        A text that is too long is refused, or with `truncate` its first tokens alone are read.
        """
        request = _requests.embed(inputs, truncate)
        return _requests.embeddings_of(list(self._calls.read("Embed", request, timeout)))

    def fill_mask(
        self, inputs: Iterable[Prompt], *, mask: str = "", top: int | None = None, timeout: float | None = None
    ) -> list[FilledText]:
        """The `top` most likely tokens (server: 5) at every mask of some texts; of an encoder.

        `mask` says what in a text stands for a mask; choose one that nobody's text has by accident. In lists of token
        ids it is Model.mask_token_id.
        """
        request = _requests.fill_mask(inputs, mask, top)
        return _requests.filled_of(list(self._calls.read("FillMask", request, timeout)))

    def tokenize(self, text: str, *, timeout: float | None = None) -> Tokens:
        """
        >>> tokens = client.tokenize("dark")
        >>> b"".join(tokens.tokens).strip()
        b'dark'
        """
        return self._calls.ask(_requests.tokenize(text), timeout)

    def detokenize(self, token_ids: Iterable[int], *, timeout: float | None = None) -> str:
        """
        >>> client.detokenize(client.tokenize("It was a dark").token_ids)
        'It was a dark'
        """
        return self._calls.ask(_requests.detokenize(token_ids), timeout)

    def model(self, *, timeout: float | None = None) -> Model:
        """
        >>> model = client.model()
        >>> model.name, model.tokenizer
        ('fma-books-11m', 'sentencepiece')
        """
        return self._calls.ask(_requests.model(), timeout)

    def list_models(self, *, timeout: float | None = None) -> list[Model]:
        """All that the server serves, the default first.

        >>> [model.name for model in client.list_models()]
        ['fma-books-11m']
        """
        return self._calls.ask(_requests.list_models(), timeout)

    def load_model(self, folder: str, name: str = "", *, timeout: float | None = None) -> Model:
        """Serves a checkpoint `folder` of the server's machine. Needs the token of an administrator."""
        return self._calls.ask(_requests.load_model(folder, name), timeout)

    def unload_model(self, name: str, *, grace_seconds: float | None = None, timeout: float | None = None) -> None:
        """Ends serving a model, after `grace_seconds` for its requests. Needs the token of an administrator."""
        self._calls.ask(_requests.unload_model(name, grace_seconds), timeout)

    def is_serving(self, *, timeout: float | None = None) -> bool:
        """Whether the server takes requests: not while it drains.

        >>> client.is_serving()
        True
        """
        return self._calls.ask(_requests.is_serving(), timeout)

    def create_session(
        self, session_id: str = "", *, ttl_seconds: float | None = None, pinned: bool = False
    ) -> Session:
        """A new, empty session. As a context manager it is deleted at the end.

        Without `session_id` the server chooses one. `ttl_seconds` is the time without use after which it expires, 0
        for never; default: the server's.
        """
        return self.session(self._calls.ask(_requests.create(session_id, ttl_seconds, pinned)))

    def session(self, session_id: str) -> Session:
        """A session that is there; asks the server nothing."""
        return Session(self._calls, session_id)

    def list_sessions(self, *, page_size: int = 100) -> Iterator[SessionInfo]:
        """The caller's sessions in order of their ids, fetched page by page."""
        page, token = self._calls.ask(_requests.list_sessions(page_size, ""))
        yield from page
        while token:
            page, token = self._calls.ask(_requests.list_sessions(page_size, token))
            yield from page

    def import_session(
        self,
        blob: bytes | Iterable[bytes],
        session_id: str = "",
        *,
        ttl_seconds: float | None = None,
        pinned: bool = False,
    ) -> Session:
        """A session made of what Session.export() gave, here or on another server of the same model."""
        session = _requests.addressed(_requests.new_session(session_id, ttl_seconds, pinned), self._calls.model)
        return self.session(self._calls.ask(_requests.import_session(session, blob)))
