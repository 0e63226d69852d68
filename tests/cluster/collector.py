"""A collector of traces, which speaks OTLP as OpenTelemetry publishes it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.trace.v1 import trace_pb2 as trace
from service import eventually

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Span(NamedTuple):
    """Times are nanoseconds since the epoch."""

    name: str
    trace: str
    id: str
    parent: str
    state: str
    server: bool
    begin: int
    end: int
    attributes: dict[str, Any]
    failed: bool
    resource: dict[str, Any]


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)


def _attributes(holder: Any) -> dict[str, Any]:
    found = {attribute.key: _value(attribute.value) for attribute in holder.attributes}
    assert len(found) == len(holder.attributes), "a name comes twice"
    return found


def _spans(request: Any) -> Iterator[Span]:
    for sender in request.resource_spans:
        for scope in sender.scope_spans:
            assert scope.scope.name == "fma-server"
            for span in scope.spans:
                assert (len(span.trace_id), len(span.span_id), len(span.parent_span_id) in (0, 8)) == (16, 8, True)
                assert span.flags == 1
                failed = span.status.code == trace.Status.STATUS_CODE_ERROR
                yield Span(span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
                           span.trace_state, span.kind == trace.Span.SPAN_KIND_SERVER, span.start_time_unix_nano,
                           span.end_time_unix_nano, _attributes(span), failed,
                           _attributes(sender.resource))  # fmt: skip


class Collector:
    """Listens on `port`, or on a free one; `answer` may raise, wait, or say what was not wanted."""

    def __init__(self, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> None:
        self.spans: list[Span] = []
        self.metadata: dict[str, str] = {}
        self.exports = 0
        self.shut = threading.Event()
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        handler = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=service.ExportTraceServiceRequest.FromString,
            response_serializer=service.ExportTraceServiceResponse.SerializeToString,
        )
        _, name, method = EXPORT.split("/")
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {method: handler}),))
        where = f"127.0.0.1:{port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(where)
        else:
            self.port = self._server.add_secure_port(where, credentials)
        self._server.start()

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.shut.clear()
        self._server.stop(None).wait()

    def _export(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._lock:
            self.exports += 1
            self.metadata = dict(context.invocation_metadata())
        while self.shut.is_set() and context.is_active():
            self.shut.wait(0.05)
            threading.Event().wait(0.05)
        with self._lock:
            self.spans += _spans(request)
        return service.ExportTraceServiceResponse()

    def of_trace(self, identity: str, count: int = 1) -> list[Span]:
        """The spans of a trace, once `count` are there, in the order of their beginnings: those of calls first."""

        def found() -> list[Span]:
            with self._lock:
                return [span for span in self.spans if span.trace == identity]

        assert eventually(lambda: len(found()) >= count), found()
        return sorted(found(), key=lambda span: (not span.server, span.begin))

    def without_caller(self, method: str) -> list[Span]:
        """The spans of the newest call of a method that began a trace."""

        def newest() -> Span | None:
            with self._lock:
                calls = [
                    span for span in self.spans if (span.attributes.get("fma.method"), span.parent) == (method, "")
                ]
            return calls[-1] if calls else None

        assert eventually(lambda: newest() is not None), method
        call = newest()
        assert call is not None
        return self.of_trace(call.trace)
