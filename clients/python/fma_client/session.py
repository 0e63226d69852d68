"""A conversation that the server keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from ._requests import session_info, update
from ._wire import sessions
from .errors import NotFoundError
from .options import GenerateOptions, OnProgress, Prompt, make_request
from .types import SessionInfo

if TYPE_CHECKING:
    from .client import Client, Generation

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

    def __init__(self, client: Client, session_id: str) -> None:
        self._client = client
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
        from .client import Generation

        return Generation(self._client, make_request(prompt, options, self.session_id), timeout, on_progress)

    def info(self) -> SessionInfo:
        """What it holds, where it is, and what it costs."""
        request = sessions.GetSessionRequest(session_id=self.session_id)
        return session_info(self._client.call("Get", request))

    def update(self, *, ttl_seconds: float | None = None, pinned: bool | None = None) -> SessionInfo:
        """Changes the time to live and pinning; None leaves a value."""
        request = update(self.session_id, ttl_seconds, pinned)
        return session_info(self._client.call("Update", request))

    def fork(self, children: int = 1) -> list[Session]:
        """New sessions that hold the same; they cost nothing but their names until they go their own way."""
        request = sessions.ForkSessionRequest(session_id=self.session_id, children=children)
        return [Session(self._client, child.session_id) for child in self._client.call("Fork", request).children]

    def rewind(self, tokens: int) -> SessionInfo:
        """Forgets what is past the first `tokens` tokens; `tokens` of the answer says where it landed."""
        request = sessions.RewindSessionRequest(session_id=self.session_id, tokens=tokens)
        return session_info(self._client.call("Rewind", request))

    def export(self, *, head_only: bool = False) -> Iterator[bytes]:
        """The session as a blob, in pieces; without its rewind points if `head_only`.

        >>> with client.create_session() as chat:
        ...     _ = chat.generate("It was a dark", max_tokens=8).read()
        ...     blob = b"".join(chat.export())
        ...     with client.import_session(blob) as copy:
        ...         copy.info().tokens == chat.info().tokens
        True
        """
        request = sessions.ExportSessionRequest(session_id=self.session_id, head_only=head_only)
        for response in self._client.read("Export", request):
            yield response.data

    def delete(self) -> None:
        """Forgets it for good."""
        self._client.call("Delete", sessions.DeleteSessionRequest(session_id=self.session_id))
