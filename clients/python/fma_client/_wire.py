"""The messages and the methods of the services, from the descriptors of proto/ that the package holds.

Protobuf's generated modules work with two of its major versions only. Descriptors work with all, so that the package
can be installed beside whatever else needs gRPC.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

if TYPE_CHECKING:
    from ._stubs.fma.v1 import admin_pb2 as admin
    from ._stubs.fma.v1 import encoders_pb2 as encoders
    from ._stubs.fma.v1 import generation_pb2 as generation
    from ._stubs.fma.v1 import sessions_pb2 as sessions
    from ._stubs.google.rpc import error_details_pb2 as error_details
    from ._stubs.google.rpc import status_pb2 as status
    from ._stubs.grpc.health.v1 import health_pb2 as health

__all__ = [
    "METHODS", "Method", "admin", "bind", "encoders", "error_details", "generation", "health", "sessions", "status",
]  # fmt: skip


def _load() -> Any:
    """A pool of its own: another package of the process may hold the same protos."""
    pool: Any = descriptor_pool.DescriptorPool()
    data = resources.files(__package__).joinpath("protos.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        pool.Add(file)
    return pool


def _module(pool: Any, name: str) -> Any:
    """What the generated module of a proto would hold: its descriptor, and its messages by name."""
    descriptor = pool.FindFileByName(name)
    messages = descriptor.message_types_by_name.items()
    made = {short: message_factory.GetMessageClass(message) for short, message in messages}
    return SimpleNamespace(DESCRIPTOR=descriptor, **made)


if not TYPE_CHECKING:
    _pool = _load()
    admin = _module(_pool, "fma/v1/admin.proto")
    generation = _module(_pool, "fma/v1/generation.proto")
    encoders = _module(_pool, "fma/v1/encoders.proto")
    sessions = _module(_pool, "fma/v1/sessions.proto")
    health = _module(_pool, "grpc/health/v1/health.proto")
    error_details = _module(_pool, "google/rpc/error_details.proto")
    status = _module(_pool, "google/rpc/status.proto")


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
    "Chat": _generation("Chat", "unary_stream", generation.GenerateResponse),
    "Score": _generation("Score", "unary_stream", generation.ScoreResponse),
    "Tokenize": _generation("Tokenize", "unary_unary", generation.TokenizeResponse),
    "Detokenize": _generation("Detokenize", "unary_unary", generation.DetokenizeResponse),
    "GetModel": _generation("GetModel", "unary_unary", generation.Model),
    "ListModels": _generation("ListModels", "unary_unary", generation.ListModelsResponse),
    "Embed": Method("/fma.v1.Encoders/Embed", "unary_stream", encoders.EmbedResponse),
    "FillMask": Method("/fma.v1.Encoders/FillMask", "unary_stream", encoders.FillMaskResponse),
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
    "Check": Method("/grpc.health.v1.Health/Check", "unary_unary", health.HealthCheckResponse),
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
