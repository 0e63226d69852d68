"""Requests and answers, the same for both clients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

from ._wire import sessions
from .types import Place, SessionInfo, copy_fields

#: Stands for the descriptor of what is no message: the stream of an import.
_NO_MESSAGE = SimpleNamespace(fields_by_name=())

#: Bytes of one message of an import; the server takes far larger ones.
_PIECE = 1 << 20


def create(session_id: str, ttl_seconds: float | None, pinned: bool) -> sessions.CreateSessionRequest:
    return sessions.CreateSessionRequest(session_id=session_id, ttl_seconds=ttl_seconds, pinned=pinned)


def update(session_id: str, ttl_seconds: float | None, pinned: bool | None) -> sessions.UpdateSessionRequest:
    request = sessions.UpdateSessionRequest(session_id=session_id, ttl_seconds=ttl_seconds)
    if pinned is not None:
        request.pinned = pinned
    return request


def addressed(request: Any, model: str) -> Any:
    """The request, which says now which model it means: in `model`, where it has one."""
    if model and "model" in getattr(request, "DESCRIPTOR", _NO_MESSAGE).fields_by_name:
        request.model = model
    return request


def session_info(message: Any) -> SessionInfo:
    return copy_fields(SessionInfo, message, place=Place(message.place))


def import_messages(session: Any, blob: bytes | Iterable[bytes]) -> Iterator[Any]:
    """The messages of an import: who it shall be, then the blob."""
    yield sessions.ImportSessionRequest(session=session)
    for part in (blob,) if isinstance(blob, bytes) else blob:
        for at in range(0, len(part), _PIECE):
            yield sessions.ImportSessionRequest(data=part[at : at + _PIECE])
