"""When calls are sent again: the policy, and a server that comes late or is full."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable

import grpc
import pytest
from fma_client import (
    NO_RETRY,
    AsyncClient,
    CancelledError,
    Client,
    FmaError,
    InvalidArgumentError,
    Retry,
    UnavailableError,
)
from fma_client.errors import ResourceExhaustedError, retry_after
from fma_client.retry import Attempts
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from programs import DEMO_MODEL, free_port, serve


def unavailable(hint: float | None = None) -> FmaError:
    return UnavailableError(grpc.StatusCode.UNAVAILABLE, "gone", hint)


def full(hint: float | None = None) -> FmaError:
    return ResourceExhaustedError(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", hint)


def test_delays_double_up_to_a_limit() -> None:
    random.seed(1)
    attempts = Attempts(Retry(attempts=8, first_delay=1, max_delay=10), idempotent=True, timeout=None)
    for longest in (1, 2, 4, 8, 10, 10, 10):
        assert longest / 2 <= attempts.delay_after(unavailable()) <= longest
    with pytest.raises(UnavailableError):
        attempts.delay_after(unavailable())


@pytest.mark.parametrize(
    ("error", "idempotent", "again"),
    [
        (unavailable(), True, True),
        (unavailable(), False, False),
        (unavailable(0.5), False, True),
        (full(), True, False),
        (full(0.5), False, True),
        (full(100), True, False),
        (InvalidArgumentError(grpc.StatusCode.INVALID_ARGUMENT, "no"), True, False),
    ],
)
def test_only_what_cannot_do_harm_is_sent_again(error: FmaError, idempotent: bool, again: bool) -> None:
    attempts = Attempts(Retry(), idempotent, timeout=None)
    if again:
        assert attempts.delay_after(error) >= (error.retry_after or 0)
    else:
        with pytest.raises(type(error)):
            attempts.delay_after(error)


def test_a_deadline_bounds_the_waiting() -> None:
    attempts = Attempts(Retry(first_delay=1), idempotent=True, timeout=0.2)
    with pytest.raises(UnavailableError):
        attempts.delay_after(unavailable())


def test_an_interrupted_generation_has_time_of_its_own() -> None:
    attempts = Attempts(Retry(attempts=2, first_delay=0, resume_seconds=1000), idempotent=False, timeout=None)
    attempts.interrupted()
    for _ in range(50):
        attempts.delay_after(unavailable())
    attempts = Attempts(NO_RETRY, idempotent=False, timeout=None)
    attempts.interrupted()
    with pytest.raises(UnavailableError):
        attempts.delay_after(unavailable())


def test_the_hint_is_found_among_other_details() -> None:
    def packed(message) -> any_pb2.Any:
        made = any_pb2.Any()
        made.Pack(message)
        return made

    info = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2, nanos=500_000_000))
    other = error_details_pb2.ErrorInfo(reason="x")
    status = status_pb2.Status(code=8, details=[packed(other), packed(info)])
    assert retry_after(status.SerializeToString()) == 2.5
    assert retry_after(status_pb2.Status(code=8, details=[packed(other)]).SerializeToString()) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.model().name == "fma-books-11m",
        lambda client: client.generate("x", max_tokens=2).read()[0].token_ids,
        lambda client: client.score("a b").scored_tokens,
    ],
)
def test_a_server_that_comes_late_is_waited_for(call: Callable[[Client], object]) -> None:
    port = free_port()
    results: list[object] = []
    with Client(f"127.0.0.1:{port}", retry=Retry(attempts=200, first_delay=0.05, max_delay=0.2)) as client:
        waiting = threading.Thread(target=lambda: results.append(call(client)))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive() and not results
        with serve(DEMO_MODEL, "--threads", 1, listen=f"127.0.0.1:{port}"):
            waiting.join(60)
            assert results and results[0]


def test_a_stream_that_breaks_is_not_sent_again() -> None:
    with Client(f"127.0.0.1:{(port := free_port())}") as client:
        with serve(DEMO_MODEL, "--threads", 1, "--drain-seconds", 0, listen=f"127.0.0.1:{port}"):
            stream = client.generate("endless", max_tokens=10**8, ignore_eos=True)
            next(stream)
        with pytest.raises(UnavailableError):
            stream.read()


NOBODY = "127.0.0.1:1"
PATIENT = Retry(attempts=100, first_delay=100, max_delay=1000)


def test_cancelling_ends_the_wait_for_a_server() -> None:
    with Client(NOBODY, retry=PATIENT) as client:
        stream = client.generate("x")
        threading.Timer(0.3, stream.cancel).start()
        with pytest.raises(CancelledError):
            stream.read()


async def test_cancelling_ends_the_wait_with_asyncio() -> None:
    async with AsyncClient(NOBODY, retry=PATIENT) as client:
        stream = client.generate("x")
        asyncio.get_running_loop().call_later(0.3, stream.cancel)
        with pytest.raises(CancelledError):
            await stream.read()
