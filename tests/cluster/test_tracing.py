"""Traces of calls as a real collector gets them: names, parents, times and attributes; a collector that is away."""

from __future__ import annotations

import http.client
import importlib
import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
from certificates import Authority
from collector import Collector, Span
from fma_client._wire import bind, generation
from programs import BIN, DEMO_MODEL, GOLDEN, ROOT, free_port
from service import Service, eventually

MODEL = DEMO_MODEL.name
ENDLESS = {"text": "Once", "max_tokens": 1_000_000, "ignore_eos": True}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as found:
        yield found


@pytest.fixture(scope="module")
def server(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Of one slot. Sessions' states do not fit into memory."""
    flags = ("--otlp-endpoint", collector.url, "--session-dir", tmp_path_factory.mktemp("sessions"))
    flags += ("--session-memory", 1, "--slots", 1, "--threads", 1, "--openai", "127.0.0.1:0")
    with Service(*flags) as found:
        yield found
        assert found.stop() == 0


class Caller:
    """A span of a client, whose calls are its children."""

    def __init__(self, server: Service, sampled: bool = True) -> None:
        self.trace, self.id = secrets.token_hex(16), secrets.token_hex(8)
        self.traceparent = f"00-{self.trace}-{self.id}-0{int(sampled)}"
        self.metadata = (("traceparent", self.traceparent), ("tracestate", "vendor=a,other=b"))
        self._server = server

    def generate(self, **fields: object) -> list[Any]:
        with grpc.insecure_channel(self._server.address) as channel:
            return list(self.start(channel, **fields))

    def start(self, channel: grpc.Channel, **fields: object) -> Any:
        return bind(channel)["Generate"](generation.GenerateRequest(**fields), metadata=self.metadata, timeout=120)


def names(spans: list[Span]) -> list[str]:
    return [span.name for span in spans]


def check_nesting(spans: list[Span]) -> None:
    """The first is a call; the others are its parts, one after the other and inside it."""
    call, *parts = spans
    assert call.server and len({span.id for span in spans}) == len(spans)
    last = call.begin
    for part in parts:
        assert (part.parent, part.trace, part.server) == (call.id, call.trace, False)
        assert last <= part.begin <= part.end, (part.name, last - part.begin)
        last = part.end
    assert last <= call.end
    assert abs(call.end / 1e9 - time.time()) < 600


def test_a_call_joins_the_trace_of_its_caller(server: Service, collector: Collector) -> None:
    caller = Caller(server)
    sampling = generation.SamplingParams(temperature=0.5, top_k=20, seed=3)
    answer = caller.generate(text="It was a dark", max_tokens=12, ignore_eos=True, stop=["qqq"], sampling=sampling)
    spans = collector.of_trace(caller.trace, 4)
    assert names(spans) == [f"text_completion {MODEL}", "queue", "prefill", "decode"]
    check_nesting(spans)
    call, queue, prefill, decode = spans
    assert (call.parent, call.state, call.failed) == (caller.id, "vendor=a,other=b", False)
    prompt_tokens = answer[-1].finished.usage.prompt_tokens
    expected = {
        "fma.method": "Generate",
        "fma.tenant": "default",
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "fma",
        "gen_ai.request.model": MODEL,
        "gen_ai.request.max_tokens": 12,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.top_k": 20.0,
        "gen_ai.request.seed": 3,
        "gen_ai.request.stop_sequences": ["qqq"],
        "gen_ai.response.finish_reasons": ["length"],
        "gen_ai.usage.input_tokens": prompt_tokens,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.output_tokens": 12,
        "server.address": "127.0.0.1",
    }
    assert call.attributes == {**expected, "fma.request.id": call.attributes["fma.request.id"]}
    assert queue.attributes == {}
    assert prefill.attributes == {"fma.tokens": prompt_tokens}
    assert decode.attributes == {"fma.tokens": 12}
    assert decode.end > decode.begin
    assert call.resource["service.name"] == "fma-server"
    assert {"service.version", "service.instance.id", "host.name"} <= set(call.resource)
    assert f"trace_id={caller.trace} span_id={call.id}" in server.log()


def test_a_turn_restores_and_saves_its_session(server: Service, collector: Collector) -> None:
    places = []
    session = f"talk-{secrets.token_hex(8)}"
    assert server.run("sessions", "create", session)[0] == 0
    for _ in range(2):
        caller = Caller(server)
        caller.generate(text="And then", session_id=session, max_tokens=8, ignore_eos=True)
        spans = collector.of_trace(caller.trace, 6)
        assert names(spans) == [f"text_completion {MODEL}", "restore", "queue", "prefill", "decode", "save"]
        check_nesting(spans)
        assert spans[0].attributes["gen_ai.conversation.id"] == session
        places.append((spans[1].attributes["fma.session.place"], spans[-1].attributes["fma.session.place"]))
    assert places == [("memory", "store"), ("store", "store")], "the new session has nothing to read"


def test_without_a_store_sessions_are_in_memory(collector: Collector) -> None:
    with Service("--otlp-endpoint", collector.url, model=GOLDEN / "average") as server:
        assert server.run("sessions", "create", "talk")[0] == 0
        caller = Caller(server)
        caller.generate(token_ids={"ids": [1, 2]}, session_id="talk", max_tokens=4, ignore_eos=True)
        spans = collector.of_trace(caller.trace, 6)
        assert (spans[1].name, spans[1].attributes["fma.session.place"]) == ("restore", "memory")
        assert (spans[-1].name, spans[-1].attributes["fma.session.place"]) == ("save", "memory")


def test_a_call_that_waits_says_for_how_long(server: Service, collector: Collector) -> None:
    first, second = Caller(server), Caller(server)
    with grpc.insecure_channel(server.address) as channel:
        running = first.start(channel, **ENDLESS)
        next(running)
        waiting = second.start(channel, text="And", max_tokens=2, ignore_eos=True)
        assert eventually(lambda: server.sum("fma_requests_waiting") == 1)
        began = time.monotonic()
        assert eventually(lambda: time.monotonic() - began > 0.3)
        running.cancel()
        assert list(waiting)
    spans = collector.of_trace(second.trace, 4)
    check_nesting(spans)
    assert spans[1].name == "queue"
    assert spans[1].end - spans[1].begin > 0.3e9
    call, *parts = collector.of_trace(first.trace, 4)
    check_nesting([call, *parts])
    assert names(parts) == ["queue", "prefill", "decode"], "also of a call that its client ended"
    assert (call.attributes["error.type"], call.failed) == ("CANCELLED", False)
    assert call.attributes["gen_ai.usage.output_tokens"] > 0
    assert "gen_ai.response.finish_reasons" not in call.attributes


def test_a_call_that_only_waited_has_its_queue(server: Service, collector: Collector) -> None:
    first, second = Caller(server), Caller(server)
    with grpc.insecure_channel(server.address) as channel:
        running = first.start(channel, **ENDLESS)
        next(running)
        waiting = second.start(channel, text="And", max_tokens=2)
        assert eventually(lambda: server.sum("fma_requests_waiting") == 1)
        waiting.cancel()
        spans = collector.of_trace(second.trace, 2)
        running.cancel()
    assert names(spans) == [f"text_completion {MODEL}", "queue"]
    check_nesting(spans)


def test_a_refused_call_says_why(server: Service, collector: Collector) -> None:
    caller = Caller(server)
    with pytest.raises(grpc.RpcError):
        caller.generate(text="x", sampling=generation.SamplingParams(temperature=-1))
    (call,) = collector.of_trace(caller.trace)
    assert (call.attributes["error.type"], call.failed) == ("INVALID_ARGUMENT", False)
    caller = Caller(server)
    with pytest.raises(grpc.RpcError):
        caller.generate(text="x", session_id="there-is-none")
    call, restore = collector.of_trace(caller.trace, 2)
    assert (restore.name, restore.attributes["error.type"]) == ("restore", "NOT_FOUND")
    assert call.attributes["error.type"] == "NOT_FOUND"


def test_calls_over_http_join_too(server: Service, collector: Collector) -> None:
    def post(path: str, body: object, *, stream: bool) -> Caller:
        caller = Caller(server)
        connection = http.client.HTTPConnection("127.0.0.1", server.openai_port, timeout=60)
        headers = {"Content-Type": "application/json", **dict(caller.metadata)}
        connection.request("POST", path, json.dumps({**body, "stream": stream}), headers)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        connection.close()
        return caller

    ask = {"prompt": "Once", "max_tokens": 5, "ignore_eos": True}
    for stream in (False, True):
        caller = post("/v1/completions", ask, stream=stream)
        spans = collector.of_trace(caller.trace, 4)
        assert names(spans) == [f"text_completion {MODEL}", "queue", "prefill", "decode"]
        check_nesting(spans)
        assert (spans[0].parent, spans[0].attributes["fma.method"]) == (caller.id, "OpenAi.Completion")
        assert (spans[0].state, spans[0].attributes["gen_ai.usage.output_tokens"]) == ("vendor=a,other=b", 5)


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModuleType, ModuleType]:
    """Messages of the other protocols on the gRPC port."""
    folder = tmp_path_factory.mktemp("stubs")
    protos = ("inference/grpc_service", "vllm/inference")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT / 'proto'}", f"--python_out={folder}"]
    subprocess.run([*command, *(f"{proto}.proto" for proto in protos)], check=True)
    sys.path.insert(0, str(folder))
    kserve, vllm = (importlib.import_module(f"{proto.replace('/', '.')}_pb2") for proto in protos)
    sys.path.remove(str(folder))
    return kserve, vllm


def test_calls_of_every_door_join(server: Service, collector: Collector, doors: tuple[ModuleType, ModuleType]) -> None:
    kserve, vllm = doors
    infer = kserve.ModelInferRequest(model_name=MODEL)
    text = infer.inputs.add(name="text_input", datatype="BYTES", shape=[1])
    text.contents.bytes_contents.append(b"Once")
    infer.parameters["max_tokens"].int64_param = 3
    generate = vllm.GenerateRequest(text="Once", stopping=vllm.StoppingCriteria(max_new_tokens=3))

    def send(method: str, kind: str, request: Any) -> Caller:
        caller = Caller(server)
        with grpc.insecure_channel(server.address) as channel:
            call = getattr(channel, kind)(method, lambda message: message.SerializeToString(), lambda data: data)
            made = call(request, metadata=caller.metadata, timeout=60)
            if kind == "unary_stream":
                list(made)
        return caller

    sent = {
        "KServe.ModelInfer": send("/inference.GRPCInferenceService/ModelInfer", "unary_unary", infer),
        "Vllm.GenerateStream": send("/vllm.Inference/GenerateStream", "unary_stream", generate),
    }
    for method, caller in sent.items():
        spans = collector.of_trace(caller.trace, 3)
        check_nesting(spans)
        assert (spans[0].parent, spans[0].attributes["fma.method"]) == (caller.id, method)
        assert {"queue", "prefill"} <= set(names(spans))


def test_calls_without_a_caller_begin_a_trace(server: Service, collector: Collector) -> None:
    assert server.run("sessions", "create", "rooted")[0] == 0
    (call,) = collector.without_caller("Sessions.Create")
    assert call.name == "Sessions.Create"
    assert server.run("generate", "Once", "-n", 3)[0] == 0
    spans = collector.without_caller("Generate")
    check_nesting(spans)
    assert names(spans) == [f"text_completion {MODEL}", "queue", "prefill", "decode"]


def test_what_the_caller_does_not_sample_is_not_sent(server: Service, collector: Collector) -> None:
    unsampled, sampled = Caller(server, sampled=False), Caller(server)
    unsampled.generate(text="Once", max_tokens=2)
    sampled.generate(text="Once", max_tokens=2)
    collector.of_trace(sampled.trace)
    assert all(span.trace != unsampled.trace for span in collector.spans)


def test_a_collector_that_comes_back_has_everything() -> None:
    port = free_port()
    with Service("--otlp-endpoint", f"http://127.0.0.1:{port}", "--threads", 1) as server:
        callers = [Caller(server) for _ in range(3)]
        for caller in callers:
            caller.generate(text="Once", max_tokens=2)
        assert eventually(lambda: "does not take spans" in server.log())
        with Collector(port) as collector:
            for caller in callers:
                collector.of_trace(caller.trace, 4)
            assert eventually(lambda: "takes spans again" in server.log())
            assert eventually(lambda: server.sum("fma_trace_spans_exported_total") == 12)
        last = Caller(server)
        last.generate(text="Once", max_tokens=2)
        with Collector(port) as collector:
            collector.of_trace(last.trace, 4)
            assert server.sum("fma_trace_spans_dropped_total") == 0
            at_the_end = Caller(server)
            at_the_end.generate(text="Once", max_tokens=2)
            assert server.stop() == 0
            collector.of_trace(at_the_end.trace, 4)


def test_a_collector_that_hangs_delays_nobody() -> None:
    with Collector() as collector, Service("--otlp-endpoint", collector.url, "--threads", 1) as server:
        collector.shut.set()
        caller = Caller(server)
        caller.generate(text="Once", max_tokens=2)
        assert eventually(lambda: collector.exports == 1)
        for _ in range(3):
            Caller(server).generate(text="Once", max_tokens=2)
        assert server.sum("fma_requests_finished_total") == 4
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 30, "an export may take 10 s, and a server at its end waits 2"


def test_over_tls_and_with_the_standard_variables(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca")
    pair = authority.issue("collector")
    keys = [(pair.key.read_bytes(), pair.cert.read_bytes())]
    with Collector(credentials=grpc.ssl_server_credentials(keys)) as collector:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://127.0.0.1:{collector.port}",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(authority.cert),
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=open%20sesame",
            "OTEL_SERVICE_NAME": "books",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,host.name=mine",
        }
        with Service(env=env, model=GOLDEN / "average") as server:
            caller = Caller(server)
            caller.generate(token_ids={"ids": [1]}, max_tokens=2)
            call = collector.of_trace(caller.trace)[0]
            assert collector.metadata["api-key"] == "open sesame"
            assert "sesame" not in server.log()
            assert server.stop() == 0
    resource = dict(call.resource)
    assert len(resource.pop("service.instance.id")) == 22 and resource.pop("service.version")
    assert resource == {"service.name": "books", "deployment.environment.name": "test", "host.name": "mine"}


def test_a_stranger_with_another_certificate_gets_nothing(tmp_path: Path) -> None:
    authority, other = Authority.create(tmp_path / "ca"), Authority.create(tmp_path / "other")
    pair = authority.issue("collector")
    keys = [(pair.key.read_bytes(), pair.cert.read_bytes())]
    with Collector(credentials=grpc.ssl_server_credentials(keys)) as collector:
        flags = ("--otlp-endpoint", f"https://127.0.0.1:{collector.port}", "--otlp-ca", other.cert)
        with Service(*flags, model=GOLDEN / "average") as server:
            Caller(server).generate(token_ids={"ids": [1]}, max_tokens=2)
            assert eventually(lambda: "does not take spans: UNAVAILABLE" in server.log())
            assert server.stop() == 0
        assert collector.exports == 0


def test_without_an_endpoint_nothing_is_sent() -> None:
    with Collector() as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
        for variables in ({}, env):
            with Service(env=variables, model=GOLDEN / "average") as server:
                Caller(server).generate(token_ids={"ids": [1]}, max_tokens=2)
                assert "fma_trace" not in server.get("/metrics")[1]
                assert server.stop() == 0
                assert "trace_id" not in server.log()
                assert ("tracing off: OTEL_EXPORTER_OTLP_PROTOCOL" in server.log()) == bool(variables)
        assert collector.exports == 0


@pytest.mark.parametrize(
    ("env", "flags", "words"),
    [
        ({}, ("--otlp-endpoint", "collector:4317"), "http://HOST[:PORT]"),
        ({}, ("--otlp-endpoint", "http://c", "--trace-ratio", "2"), "--trace-ratio"),
        ({}, ("--otlp-endpoint", "https://c", "--otlp-ca", "no.pem"), "no.pem"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317"}, (), "otlp-endpoint"),
        ({"OTEL_TRACES_SAMPLER": "x"}, ("--otlp-endpoint", "http://c"), "OTEL_TRACES_SAMPLER"),
    ],
)
def test_wrong_options_are_refused(env: dict[str, str], flags: tuple[str, ...], words: str) -> None:
    command = [BIN / "fma-server", "--model", GOLDEN / "average", "--listen", "127.0.0.1:0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)
    assert done.returncode != 0
    assert words in done.stdout + done.stderr


def test_an_interrupted_turn_is_traced_to_its_end(collector: Collector, tmp_path: Path) -> None:
    flags = ("--otlp-endpoint", collector.url, "--session-dir", tmp_path, "--drain-seconds", 0, "--threads", 1)
    with Service(*flags) as server:
        assert server.run("sessions", "create", "talk")[0] == 0
        caller = Caller(server)
        with grpc.insecure_channel(server.address) as channel:
            running = caller.start(channel, session_id="talk", **ENDLESS)
            next(running)
            server.signal(signal.SIGTERM)
            with pytest.raises(grpc.RpcError):
                list(running)
        assert server.process.wait(timeout=60) == 0
    spans = collector.of_trace(caller.trace, 6)
    check_nesting(spans)
    assert names(spans)[1:] == ["restore", "queue", "prefill", "decode", "save"]
    assert (spans[0].attributes["error.type"], spans[0].failed) == ("UNAVAILABLE", True)
