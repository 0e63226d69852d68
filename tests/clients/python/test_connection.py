"""TLS and tokens against a server that wants them; retry hints also against a stock gRPC server with our answers."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fma_client
import grpc
import pytest
from certificates import Authority, Pair
from fma_client import AsyncClient, Client, Retry, Tls
from fma_client._wire import generation
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from programs import DEMO_MODEL
from service import Service

Answer = Callable[[object, grpc.ServicerContext], object]

ONCE = Retry(attempts=1)


@contextmanager
def stock_server(answers: dict[str, Answer]) -> Iterator[str]:
    """HOST:PORT of a server whose methods of fma.v1.Generation give these answers."""

    def handler(name: str, answer: Answer) -> grpc.RpcMethodHandler:
        if name == "Generate":
            return grpc.unary_stream_rpc_method_handler(
                answer, generation.GenerateRequest.FromString, lambda message: message.SerializeToString()
            )
        return grpc.unary_unary_rpc_method_handler(answer, None, lambda message: message.SerializeToString())

    server = grpc.server(ThreadPoolExecutor(4))
    handlers = {name: handler(name, answer) for name, answer in answers.items()}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("fma.v1.Generation", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@dataclass(frozen=True)
class Secured:
    """A server with mutual TLS and two tenants: "right" may do all, "narrow" one call at a time."""

    service: Service
    authority: Authority
    own: Pair

    def client(self, kind: type = Client, *, token: str | None = "right", retry: Retry = ONCE, **changed: Any) -> Any:
        tls = Tls(**{"ca": self.authority.cert, "cert": self.own.cert, "key": self.own.key, **changed})
        return kind(self.service.address, tls=tls, token=token, retry=retry)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority.create(folder / "ca")
    pair = authority.issue("fma.internal")
    tokens = folder / "tokens"
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("right", "narrow")}
    tokens.write_text(f"alice {digests['right']}\nbob {digests['narrow']} concurrent=1\n")
    tls = ("--tls-cert", pair.cert, "--tls-key", pair.key, "--tls-client-ca", authority.cert)
    with Service("--threads", 1, *tls, "--tokens", tokens) as service:
        yield Secured(service, authority, authority.issue("client"))


def test_tls_and_a_token(secured: Secured, tmp_path: Path) -> None:
    for server_name in (None, "fma.internal"):
        with secured.client(server_name=server_name) as client:
            assert client.model().name == DEMO_MODEL.name
            text = client.generate("It was", max_tokens=5, temperature=0).text()
            with client.create_session() as chat:
                assert chat.generate("It was", max_tokens=5, temperature=0).text() == text
    for token in (None, "guess"):
        with secured.client(token=token) as client, pytest.raises(fma_client.UnauthenticatedError):
            client.model()
    stranger = Authority.create(tmp_path / "stranger")
    foreign = stranger.issue("client")
    for changed in (
        {"ca": stranger.cert},
        {"server_name": "other.internal"},
        {"cert": None, "key": None},
        {"cert": foreign.cert, "key": foreign.key},
    ):
        with secured.client(**changed) as client, pytest.raises(fma_client.UnavailableError):
            client.model(timeout=20)
    for tls in (False, True):
        with (
            Client(secured.service.address, tls=tls, token="right", retry=ONCE) as client,
            pytest.raises(fma_client.UnavailableError),
        ):
            client.model(timeout=20)


async def test_asyncio_has_tls_and_tokens_too(secured: Secured) -> None:
    async with secured.client(AsyncClient) as client:
        text = await client.generate("It was", max_tokens=5, temperature=0).text()
        async with await client.create_session() as chat:
            assert await chat.generate("It was", max_tokens=5, temperature=0).text() == text
    async with secured.client(AsyncClient, token="guess") as client:
        with pytest.raises(fma_client.UnauthenticatedError):
            await client.model()


def test_a_refusal_of_the_server_says_when_to_come_back(secured: Secured) -> None:
    with (
        secured.client(token="narrow", retry=Retry(attempts=10)) as patient,
        secured.client(token="narrow") as client,
        patient.generate("It was", max_tokens=1_000_000, ignore_eos=True) as endless,
    ):
        next(endless)
        with pytest.raises(fma_client.ResourceExhaustedError) as caught:
            client.model()
        assert caught.value.retry_after == pytest.approx(1)
        with ThreadPoolExecutor(1) as pool:
            later = pool.submit(patient.model)
            time.sleep(0.2)
            assert not later.done()
            endless.cancel()
            assert later.result(timeout=60).name == DEMO_MODEL.name


async def test_asyncio_comes_back_after_a_refusal(secured: Secured) -> None:
    async with (
        secured.client(AsyncClient, token="narrow", retry=Retry(attempts=10)) as patient,
        secured.client(AsyncClient, token="narrow") as client,
    ):
        endless = patient.generate("It was", max_tokens=1_000_000, ignore_eos=True)
        await anext(endless)
        with pytest.raises(fma_client.ResourceExhaustedError):
            await client.model()
        later = asyncio.create_task(patient.model())
        await asyncio.sleep(0.2)
        assert not later.done()
        endless.cancel()
        assert (await asyncio.wait_for(later, 60)).name == DEMO_MODEL.name


def test_wrong_settings_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cert and key"):
        Client("x:1", tls=Tls(cert=tmp_path / "cert"))
    with pytest.raises(FileNotFoundError):
        Client("x:1", tls=Tls(ca=tmp_path / "none"))


class FullAtFirst:
    """Refuses so many calls with a RetryInfo, then generates one token."""

    def __init__(self, refusals: int, seconds: float) -> None:
        self.refusals = refusals
        self.calls: list[float] = []
        delay = duration_pb2.Duration(nanos=round(seconds * 1e9))
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        self.details = status_pb2.Status(code=8, message="full", details=[detail]).SerializeToString()

    def __call__(self, request: object, context: grpc.ServicerContext) -> Iterator[object]:
        self.calls.append(time.monotonic())
        if len(self.calls) <= self.refusals:
            context.set_trailing_metadata((("grpc-status-details-bin", self.details),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        yield generation.GenerateResponse(delta=generation.Delta(token_ids=[7], text="!"))
        yield generation.GenerateResponse(finished=generation.Finished(reason="FINISH_REASON_LENGTH"))


def test_hints_are_followed_even_in_a_session() -> None:
    server = FullAtFirst(refusals=2, seconds=0.2)
    with stock_server({"Generate": server}) as address, Client(address) as client:
        assert client.session("s").generate("x").text() == "!"
    gaps = [after - before for before, after in zip(server.calls, server.calls[1:])]
    assert len(gaps) == 2 and min(gaps) >= 0.2


def test_balancers_are_told_the_session() -> None:
    told: list[str | None] = []

    def answer(request: object, context: grpc.ServicerContext) -> Iterator[object]:
        told.append(dict(context.invocation_metadata()).get("x-session-id"))
        yield generation.GenerateResponse(finished=generation.Finished(reason="FINISH_REASON_LENGTH"))

    with stock_server({"Generate": answer}) as address, Client(address) as client:
        client.session("story-1").generate("x").read()
        client.generate("x").read()
        client.session("no id \n").generate("x").read()  # what is wrong with it is the server's to say
    assert told == ["story-1", None, None]


async def test_hints_are_followed_with_asyncio() -> None:
    server = FullAtFirst(refusals=1, seconds=0.1)
    with stock_server({"Generate": server}) as address:
        async with AsyncClient(address) as client:
            assert await client.generate("x").text() == "!"
    assert len(server.calls) == 2 and server.calls[1] - server.calls[0] >= 0.1


def test_the_last_error_tells_the_hint() -> None:
    server = FullAtFirst(refusals=100, seconds=0.01)
    with (
        stock_server({"Generate": server}) as address,
        Client(address, retry=Retry(attempts=3)) as client,
        pytest.raises(fma_client.ResourceExhaustedError) as caught,
    ):
        client.generate("x").read()
    assert caught.value.retry_after == pytest.approx(0.01) and len(server.calls) == 3
