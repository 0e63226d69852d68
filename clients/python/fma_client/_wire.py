"""The generated messages and the methods of the three services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ._stubs.fma.v1 import admin_pb2 as admin
from ._stubs.fma.v1 import generation_pb2 as generation
from ._stubs.fma.v1 import sessions_pb2 as sessions

__all__ = ["METHODS", "Method", "admin", "bind", "generation", "sessions"]


class Method(NamedTuple):
    """One RPC: its path, whether each side is a stream, and the type of the answer."""

    path: str
    kind: str
    response: Any
    idempotent: bool = True


def _generation(name: str, kind: str, response: Any) -> Method:
    return Method(f"/fma.v1.Generation/{name}", kind, response)


def _sessions(name: str, response: Any, *, kind: str = "unary_unary", idempotent: bool) -> Method:
    return Method(f"/fma.v1.Sessions/{name}", kind, response, idempotent)


METHODS = {
    "Generate": _generation("Generate", "unary_stream", generation.GenerateResponse),
    "Score": _generation("Score", "unary_stream", generation.ScoreResponse),
    "Tokenize": _generation("Tokenize", "unary_unary", generation.TokenizeResponse),
    "Detokenize": _generation("Detokenize", "unary_unary", generation.DetokenizeResponse),
    "GetModel": _generation("GetModel", "unary_unary", generation.Model),
    "ListModels": _generation("ListModels", "unary_unary", generation.ListModelsResponse),
    "Create": _sessions("Create", sessions.Session, idempotent=False),
    "Get": _sessions("Get", sessions.Session, idempotent=True),
    "List": _sessions("List", sessions.ListSessionsResponse, idempotent=True),
    "Update": _sessions("Update", sessions.Session, idempotent=True),
    "Fork": _sessions("Fork", sessions.ForkSessionResponse, idempotent=False),
    "Rewind": _sessions("Rewind", sessions.Session, idempotent=True),
    "Delete": _sessions("Delete", sessions.DeleteSessionResponse, idempotent=False),
    "Export": _sessions("Export", sessions.ExportSessionResponse, kind="unary_stream", idempotent=True),
    "Import": _sessions("Import", sessions.Session, kind="stream_unary", idempotent=False),
    "LoadModel": Method("/fma.v1.Admin/LoadModel", "unary_unary", generation.Model, False),
    "UnloadModel": Method("/fma.v1.Admin/UnloadModel", "unary_unary", admin.UnloadModelResponse, False),
}

CHANNEL_OPTIONS: Sequence[tuple[str, int]] = (
    # The tokens of a long text are more than the 4 MiB that are the default.
    ("grpc.max_receive_message_length", -1),
    # A prompt of millions of tokens is silent for long; pings keep the connection through proxies.
    ("grpc.keepalive_time_ms", 30_000),
    # Retry paces the calls; gRPC's own pause after a failed connection, up to minutes, would outlast it.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


def bind(channel: Any) -> dict[str, Any]:
    """Callables of `channel`, a blocking or an asyncio one, by the names of the RPCs."""
    return {
        name: getattr(channel, method.kind)(
            method.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=method.response.FromString,
        )
        for name, method in METHODS.items()
    }
