"""Stock clients: one that knows nothing but reflection, and gRPC's own health client."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


class ReflectedService:
    """Calls any method of a service with dictionaries, from what the server tells of itself."""

    def __init__(self, channel: grpc.Channel, name: str) -> None:
        self._channel = channel
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        self._service = pool.FindServiceByName(name)

    def call(self, name: str, **fields: object) -> list:
        method = self._service.methods_by_name[name]
        request = message_factory.GetMessageClass(method.input_type)(**fields)
        response = message_factory.GetMessageClass(method.output_type)
        path = f"/{self._service.full_name}/{name}"
        kind = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        answer = kind(path, type(request).SerializeToString, response.FromString)(request, timeout=30)
        return list(answer) if method.server_streaming else [answer]


@pytest.fixture
def channel(address: str):
    with grpc.insecure_channel(address) as made:
        yield made


def test_reflection_names_the_services(channel: grpc.Channel) -> None:
    services = ProtoReflectionDescriptorDatabase(channel).get_services()
    expected = {"fma.v1.Generation", "fma.v1.Sessions", "fma.v1.Encoders", "grpc.health.v1.Health"}
    assert {*expected, "grpc.reflection.v1alpha.ServerReflection"} <= {*services}


def test_a_generic_client_generates_and_scores(channel: grpc.Channel) -> None:
    service = ReflectedService(channel, "fma.v1.Generation")
    (model,) = service.call("GetModel")
    assert model.name == "fma-books-11m" and model.slot_bytes == 2211840

    request = {"text": "It was a dark", "max_tokens": 9, "sampling": {"temperature": 0.7, "seed": 3}}
    responses = service.call("Generate", **request)
    assert [response.WhichOneof("event") for response in responses][-1] == "finished"
    assert sum(len(response.delta.token_ids) for response in responses) == 9
    assert responses[-1].finished.usage.prompt_tokens == 4
    again = service.call("Generate", **request)
    assert "".join(r.delta.text for r in again) == "".join(r.delta.text for r in responses) != ""

    scores = service.call("Score", token_ids={"ids": [5, 6, 7]}, top_logprobs=1)
    assert scores[-1].summary.scored_tokens == 2
    (tokens,) = service.call("Tokenize", text="dark")
    assert service.call("Detokenize", token_ids=tokens.token_ids)[0].text == "dark"


def test_a_generic_client_keeps_a_conversation(channel: grpc.Channel) -> None:
    sessions = ReflectedService(channel, "fma.v1.Sessions")
    generation = ReflectedService(channel, "fma.v1.Generation")
    (session,) = sessions.call("Create", ttl_seconds=60)
    for held in (9, 18):
        request = {"session_id": session.session_id, "token_ids": {"ids": [5]}, "max_tokens": 8, "ignore_eos": True}
        turn = generation.call("Generate", **request)
        assert turn[-1].finished.session.tokens == held
    (fork,) = sessions.call("Fork", session_id=session.session_id)
    assert fork.children[0].tokens == 18
    for name in (session.session_id, fork.children[0].session_id):
        sessions.call("Delete", session_id=name)
    with pytest.raises(grpc.RpcError) as caught:
        sessions.call("Get", session_id=session.session_id)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_generic_client_gets_the_errors(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        ReflectedService(channel, "fma.v1.Generation").call("Generate", text="x", max_tokens=0)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "max_tokens is 0; allowed: 1 or more"


@pytest.mark.parametrize("service", ["", "fma.v1.Generation"])
def test_the_stock_health_client(channel: grpc.Channel, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service)
    assert stub.Check(request, timeout=10).status == health_pb2.HealthCheckResponse.SERVING
    watch = stub.Watch(request)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def test_health_of_an_unknown_service(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="no.such"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
