"""A conversation that the server keeps, of the blocking client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self, Unpack

from . import _requests
from ._calls import Calls
from .errors import NotFoundError
from .generation import Generation
from .options import GenerateOptions, Messages, OnProgress, Prompt, make_chat, make_request
from .types import SessionInfo

__all__ = ["Session"]


class Session:
    """A conversation that the server keeps, from Client.create_session(), session() or import_session().

    Each turn sends and reads only what is new. As a context manager it is deleted at the end.

    >>> with client.create_session() as chat:
    ...     _ = chat.generate("It was a dark", max_tokens=8).read()
    ...     _ = chat.generate(" and then", max_tokens=8).read()
    ...     (sibling,) = chat.fork()
    ...     with sibling:
    ...         sibling.rewind(0).tokens
    0
    """

    def __init__(self, calls: Calls, session_id: str) -> None:
        self._calls = calls
        self.session_id = session_id

    def __repr__(self) -> str:
        return f"Session({self.session_id!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(NotFoundError):  # expired, or deleted before
            self.delete()

    def generate(
        self,
        prompt: Prompt | None = None,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Generation:
        """The next turn: what it holds, then `prompt`, are continued. `max_tokens` 0 only reads the prompt.

        A call that fails or is cancelled leaves the session as it was.
        """
        return Generation(self._calls, make_request(prompt, options, self.session_id), timeout, on_progress)

    def chat(
        self,
        messages: Messages = (),
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Generation:
        """The next turn of a chat: only what is new is sent. Without messages an answer that was cut goes on.

        A call that fails or is cancelled leaves the session as it was.
        """
        return Generation(self._calls, make_chat(messages, options, self.session_id), timeout, on_progress)

    def info(self) -> SessionInfo:
        """What it holds, where it is, and what it costs."""
        return self._calls.ask(_requests.get(self.session_id))

    def update(self, *, ttl_seconds: float | None = None, pinned: bool | None = None) -> SessionInfo:
        """Changes the time to live and pinning; None leaves a value."""
        return self._calls.ask(_requests.update(self.session_id, ttl_seconds, pinned))

    def fork(self, children: int = 1) -> list[Session]:
        """New sessions that hold the same; they cost nothing but their names until they go their own way."""
        return [Session(self._calls, name) for name in self._calls.ask(_requests.fork(self.session_id, children))]

    def rewind(self, tokens: int) -> SessionInfo:
        """Forgets what is past the first `tokens` tokens; `tokens` of the answer says where it landed."""
        return self._calls.ask(_requests.rewind(self.session_id, tokens))

    def export(self, *, head_only: bool = False) -> Iterator[bytes]:
        """The session as a blob, in pieces; without its rewind points if `head_only`.

        >>> with client.create_session() as chat:
        ...     _ = chat.generate("It was a dark", max_tokens=8).read()
        ...     blob = b"".join(chat.export())
        ...     with client.import_session(blob) as copy:
        ...         copy.info().tokens == chat.info().tokens
        True
        """
        for response in self._calls.read("Export", _requests.export(self.session_id, head_only)):
            yield response.data

    def delete(self) -> None:
        """Forgets it for good."""
        self._calls.ask(_requests.delete(self.session_id))
