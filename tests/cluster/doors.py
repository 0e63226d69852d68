"""The doors by which conversations reach a replica."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from conversations import Conversation
from fma_client import NO_RETRY, AlreadyExistsError, Client, UnavailableError
from grpc_conversations import SessionConversation
from http_conversations import BrokenOffError, ChatConversation, ResponseConversation, ask
from programs import DEMO_MODEL, chat_model
from service import Service


@dataclass(frozen=True)
class Door:
    name: str
    flags: tuple[str, ...]
    model: Callable[[Path], Path]  #: what replicas serve; may be made in a new folder
    address: Callable[[Service], str]
    calls: str  #: the methods of turns, as a regular expression
    converse: Callable[[str, int, int], Conversation]  #: by its name, its number and its seed
    turn: Callable[[str, str], None]  #: one short turn through an address, of a session with this name
    away: type[Exception]  #: what a turn ends with where no replica is


def session_turn(address: str, name: str) -> None:
    with Client(address, retry=NO_RETRY) as client:
        with contextlib.suppress(AlreadyExistsError):
            client.create_session(name)
        client.session(name).generate("It was", max_tokens=1, timeout=60).read()


def response_turn(address: str, name: str) -> None:
    (response,) = ask(address, "POST", "/v1/responses", name, {"input": "It was", "max_output_tokens": 1})
    assert response["status_code"] == 200, response


def http_conversation(name: str, number: int, seed: int) -> Conversation:
    kind = (ChatConversation, ResponseConversation)[number % 2]
    return kind(name, seed, streams=number % 4 < 2)


GRPC = Door(
    "gRPC", (), lambda _: DEMO_MODEL, lambda replica: replica.address, "Generate",
    lambda name, _, seed: SessionConversation(name, seed), session_turn, UnavailableError,
)  # fmt: skip
HTTP = Door(
    "OpenAI", ("--openai", "127.0.0.1:0"), chat_model, lambda replica: f"127.0.0.1:{replica.openai_port}",
    r"OpenAi\.(Chat|Response)", http_conversation, response_turn, BrokenOffError,
)  # fmt: skip
