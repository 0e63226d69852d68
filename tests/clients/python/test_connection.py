"""TLS, tokens and retry hints on the wire, against a stock gRPC server: what it is asked and how it answers is ours."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import fma_client
import grpc
import pytest
from fma_client import AsyncClient, Client, Retry, Tls
from fma_client._wire import generation
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

Answer = Callable[[object, grpc.ServicerContext], object]


@contextmanager
def stock_server(answers: dict[str, Answer], credentials: grpc.ServerCredentials | None = None) -> Iterator[str]:
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
    port = (
        server.add_secure_port("127.0.0.1:0", credentials) if credentials else server.add_insecure_port("127.0.0.1:0")
    )
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def openssl(folder: Path, *words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem; server.pem for the name fma.internal, and client.pem, both signed by it, with their keys."""
    folder = tmp_path_factory.mktemp("certificates")
    new = ("req", "-newkey", "rsa:2048", "-nodes")
    openssl(folder, *new, "-x509", "-days", 2, "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem")
    for name, subject in (("server", "fma.internal"), ("client", "me")):
        openssl(folder, *new, "-subj", f"/CN={subject}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / "names").write_text(f"subjectAltName=DNS:{subject}\n")
        openssl(
            folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", 2, "-extfile", "names", "-out", f"{name}.pem",
        )  # fmt: skip
    return folder


def server_credentials(folder: Path, client_certificates: bool) -> grpc.ServerCredentials:
    pair = ((folder / "server.key").read_bytes(), (folder / "server.pem").read_bytes())
    ca = (folder / "ca.pem").read_bytes()
    return grpc.ssl_server_credentials([pair], ca if client_certificates else None, client_certificates)


def model_for_token(token: str) -> Answer:
    def answer(_: object, context: grpc.ServicerContext) -> object:
        if ("authorization", f"Bearer {token}") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who is there?")
        return generation.Model(name="safe")

    return answer


ONCE = Retry(attempts=1)


def test_tls_needs_the_right_authority_and_name(certificates: Path) -> None:
    ca = certificates / "ca.pem"
    credentials = server_credentials(certificates, client_certificates=False)
    with stock_server({"GetModel": model_for_token("secret")}, credentials) as address:
        with Client(address, tls=Tls(ca=ca, server_name="fma.internal"), token="secret", retry=ONCE) as client:
            assert client.model().name == "safe"
        for token in (None, "guess"):
            with (
                Client(address, tls=Tls(ca=ca, server_name="fma.internal"), token=token, retry=ONCE) as client,
                pytest.raises(fma_client.UnauthenticatedError),
            ):
                client.model()
        for tls in (False, True, Tls(ca=ca), Tls(ca=certificates / "client.pem", server_name="fma.internal")):
            with (
                Client(address, tls=tls, token="secret", retry=ONCE) as client,
                pytest.raises(fma_client.UnavailableError),
            ):
                client.model(timeout=20)


def test_mutual_tls(certificates: Path) -> None:
    with stock_server({"GetModel": model_for_token("t")}, server_credentials(certificates, True)) as address:
        known = Tls(
            ca=certificates / "ca.pem",
            cert=certificates / "client.pem",
            key=certificates / "client.key",
            server_name="fma.internal",
        )
        with Client(address, tls=known, token="t", retry=ONCE) as client:
            assert client.model().name == "safe"
        unknown = Tls(ca=certificates / "ca.pem", server_name="fma.internal")
        with Client(address, tls=unknown, token="t", retry=ONCE) as client, pytest.raises(fma_client.UnavailableError):
            client.model()


async def test_asyncio_has_tls_too(certificates: Path) -> None:
    credentials = server_credentials(certificates, client_certificates=False)
    with stock_server({"GetModel": model_for_token("t")}, credentials) as address:
        tls = Tls(ca=certificates / "ca.pem", server_name="fma.internal")
        async with AsyncClient(address, tls=tls, token="t", retry=ONCE) as client:
            assert (await client.model()).name == "safe"


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
