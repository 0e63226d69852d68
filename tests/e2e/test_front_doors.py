"""Other protocols on the gRPC port, by stubs that protoc makes of proto/: who may call, and what is told of calls."""

from __future__ import annotations

import collections
import hashlib
import importlib
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import grpc
import pytest
from programs import ROOT, run
from service import Service, eventually

MODEL = "fma-books-11m"
PROTOS = ("inference/grpc_service", "vllm/inference", "vllm/control")


class Stubs:
    """Messages of the protos, and their methods on a channel."""

    def __init__(self, folder: Path):
        run("protoc", f"--proto_path={ROOT / 'proto'}", f"--python_out={folder}", *(f"{p}.proto" for p in PROTOS))
        sys.path.insert(0, str(folder))
        self.kserve, self.vllm, self.control = (importlib.import_module(f"{p.replace('/', '.')}_pb2") for p in PROTOS)
        sys.path.remove(str(folder))

    def call(self, channel: grpc.Channel, module: ModuleType, name: str, requests: object, token: str = "") -> list:
        """Every message that a method answers with; `requests` is one, or an iterable of those of a stream."""
        (service,) = module.DESCRIPTOR.services_by_name.values()
        method = service.methods_by_name[name]
        answer = getattr(module, method.output_type.name).FromString
        client_streams = name == "ModelStreamInfer"
        server_streams = client_streams or name == "GenerateStream"
        kind = f"{'stream' if client_streams else 'unary'}_{'stream' if server_streams else 'unary'}"
        made = getattr(channel, kind)(f"/{service.full_name}/{name}", lambda m: m.SerializeToString(), answer)
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        got = made(iter(requests) if client_streams else requests, timeout=60, metadata=metadata)
        return list(got) if server_streams else [got]

    def infer_request(self, text: str, **parameters: object) -> object:
        request = self.kserve.ModelInferRequest(model_name=MODEL, id="one")
        tensor = request.inputs.add(name="text_input", datatype="BYTES", shape=[1])
        tensor.contents.bytes_contents.append(text.encode())
        for name, value in {"max_tokens": 12, "seed": 3, **parameters}.items():
            kind = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(value)]
            setattr(request.parameters[name], kind, value)
        return request


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Stubs:
    return Stubs(tmp_path_factory.mktemp("stubs"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    lines = {"writer": "w", "counted": "c tokens-per-minute=20", "other": "o"}
    tokens.write_text(
        "".join(
            f"{tenant} {hashlib.sha256(rest[0].encode()).hexdigest()}{rest[1:]}\n" for tenant, rest in lines.items()
        )
    )
    with Service("--slots", 2, "--threads", 1, "--tokens", tokens, "--log-prompts") as found:
        yield found
        assert found.stop() == 0


@pytest.fixture
def channel(server: Service) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as made:
        yield made


def text_of(answers: list) -> str:
    responses = [getattr(answer, "infer_response", answer) for answer in answers]
    return "".join(response.outputs[0].contents.bytes_contents[0].decode() for response in responses)


def call_lines(server: Service, method: str) -> list[str]:
    return re.findall(rf"^.* call request=.* method={method} .*$", server.log(), re.M)


def test_all_doors_say_the_same(server: Service, stubs: Stubs, channel: grpc.Channel) -> None:
    words = ("generate", "It was a dark", "--max-tokens", 12, "--seed", 3, "--token", "w")
    expected = server.run(*words)[1].rstrip("\n")
    request = stubs.infer_request("It was a dark")
    whole = stubs.call(channel, stubs.kserve, "ModelInfer", request, token="w")
    pieces = stubs.call(channel, stubs.kserve, "ModelStreamInfer", [request, request], token="w")
    assert text_of(whole).rstrip("\n") == expected
    assert text_of(pieces) == 2 * text_of(whole)
    asked = stubs.vllm.GenerateRequest(text="It was a dark", temperature=1, sampling={"seed": 3})
    asked.stopping.max_new_tokens = 12
    answers = stubs.call(channel, stubs.vllm, "GenerateStream", asked, token="w")
    assert "".join(answer.outputs.text for answer in answers) == text_of(whole)
    assert answers[0].prompt_info.num_prompt_tokens == 4


def test_calls_are_logged_and_counted(server: Service, stubs: Stubs, channel: grpc.Channel) -> None:
    request = stubs.infer_request("Told of in the log")
    stubs.call(channel, stubs.kserve, "ModelStreamInfer", [request, request], token="w")
    assert eventually(lambda: "Told of in the log" in server.log())
    for method, code in (("KServe.ModelStreamInfer", "OK"), ("KServe.ServerLive", "UNAUTHENTICATED")):
        if code != "OK":
            with pytest.raises(grpc.RpcError) as refused:
                stubs.call(channel, stubs.kserve, "ServerLive", stubs.kserve.ServerLiveRequest())
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert eventually(lambda m=method, c=code: any(f"code={c}" in line for line in call_lines(server, m)))
        assert server.scrape()[f'fma_calls_total{{code="{code}",method="{method}"}}'] >= 1
    (line, *_) = (line for line in call_lines(server, "KServe.ModelStreamInfer") if "tenant=writer" in line)
    assert f"model={MODEL}" in line and "generated_tokens=12" in line


def test_every_method_asks_who_calls(server: Service, stubs: Stubs, channel: grpc.Channel) -> None:
    for module in (stubs.kserve, stubs.vllm, stubs.control):
        (service,) = module.DESCRIPTOR.services_by_name.values()
        for method in service.methods:
            request = getattr(module, method.input_type.name)()
            request = [request] if method.name == "ModelStreamInfer" else request
            with pytest.raises(grpc.RpcError) as refused:
                stubs.call(channel, module, method.name, request, token="wrong")
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED, method.full_name


def test_tokens_are_charged_to_the_tenant(server: Service, stubs: Stubs, channel: grpc.Channel) -> None:
    request = stubs.infer_request("It was a dark", max_tokens=30)
    assert text_of(stubs.call(channel, stubs.kserve, "ModelInfer", request, token="c"))
    asked = stubs.vllm.GenerateRequest(text="It was a dark")
    with pytest.raises(grpc.RpcError) as refused:
        stubs.call(channel, stubs.vllm, "GenerateStream", asked, token="c")
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    (answer,) = stubs.call(channel, stubs.control, "GetModelInfo", stubs.control.GetModelInfoRequest(), token="c")
    assert answer.served_model_name == MODEL


def test_sequences_are_the_tenants_own_sessions(server: Service, stubs: Stubs, channel: grpc.Channel) -> None:
    start = stubs.infer_request("It was a dark", sequence_id="tale", sequence_start=True)
    end = stubs.infer_request(" and then", sequence_id="tale", sequence_end=True)
    stubs.call(channel, stubs.kserve, "ModelInfer", start, token="w")
    with pytest.raises(grpc.RpcError) as refused:
        stubs.call(channel, stubs.kserve, "ModelInfer", end, token="o")
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    assert "tale" in server.run("sessions", "list", "--token", "w")[1]
    stubs.call(channel, stubs.kserve, "ModelInfer", end, token="w")
    assert "tale" not in server.run("sessions", "list", "--token", "w")[1]


def test_six_metrics_have_their_names_in_vllm(stubs: Stubs) -> None:
    with Service("--slots", 2, "--metrics-names", "vllm") as server:
        assert server.run("generate", "It was", "--max-tokens", 5, "--ignore-eos")[0] == 0
        assert eventually(lambda: server.sum("vllm:e2e_request_latency_seconds_count") == 1)
        assert server.sum("vllm:inter_token_latency_seconds_count") == 4
        assert server.sum("vllm:time_to_first_token_seconds_count") == 1
        for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"):
            assert server.scrape()[f'vllm:{name}{{model_name="{MODEL}"}}'] == 0
        page = server.get("/metrics")[1]
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if "should not contain ':'" not in line]
    assert complaints == [], done.stderr


def damaged(message: bytes, generator: random.Random) -> bytes:
    """With some bytes changed, left out or repeated."""
    found = bytearray(message)
    for _ in range(generator.randrange(1, 4)):
        at = generator.randrange(max(1, len(found)))
        end = at + generator.randrange(1, 6)
        found[at:end] = generator.choice((b"", bytes(found[at:end] * 2), generator.randbytes(end - at)))
    return bytes(found)


def test_any_bytes_are_answered(
    server: Service, stubs: Stubs, channel: grpc.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    generator = random.Random(5)
    infer = stubs.infer_request("It was a dark", max_tokens=1, sequence_id="s", sequence_start=True)
    json_input = infer.inputs.add(name="sampling_parameters", datatype="BYTES", shape=[1])
    json_input.contents.bytes_contents.append(b'{"stop": ["x"], "logit_bias": {"5": 1.5}}')
    asked = stubs.vllm.GenerateRequest(text="It was a dark", request_id="one", priority=1)
    asked.stopping.max_new_tokens = 1
    asked.decoding.logit_bias[5] = 1.5
    messages = {
        "inference.GRPCInferenceService/ModelInfer": infer,
        "inference.GRPCInferenceService/ModelStreamInfer": infer,
        "vllm.Inference/GenerateStream": asked,
        "vllm.Control/Abort": stubs.control.AbortRequest(request_ids=["one", "two"]),
    }
    refusals = {"INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "DEADLINE_EXCEEDED"}
    codes = collections.Counter()
    for _ in range(300):
        for name, message in messages.items():
            data = damaged(message.SerializeToString(), generator)
            call = channel.stream_stream(f"/{name}")
            try:
                list(call(iter([data]), timeout=2, metadata=(("authorization", "Bearer w"),)))
                codes["OK"] += 1
            except grpc.RpcError as error:
                codes[error.code().name] += 1
    assert codes.keys() <= {*refusals, "OK"}, codes
    assert codes["OK"] > 100 and codes["INVALID_ARGUMENT"] > 100, codes
    assert caplog.records == [], "gRPC logs messages that are no UTF-8"
    assert eventually(lambda: server.sum("fma_slots_used") == 0)


def test_streams_end_when_the_server_drains(stubs: Stubs) -> None:
    with Service("--slots", 1) as server, grpc.insecure_channel(server.address) as channel:
        request = stubs.infer_request("It was a dark")

        def requests() -> Iterator[object]:
            yield request
            assert eventually(lambda: server.sum("fma_requests_finished_total") == 1)
            assert server.stop() == 0

        with pytest.raises(grpc.RpcError):
            stubs.call(channel, stubs.kserve, "ModelStreamInfer", requests())
