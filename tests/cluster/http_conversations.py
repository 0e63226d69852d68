"""Conversations over the OpenAI door, by a client that knows nothing but HTTP."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from conversations import TOKENS, TURNS, Conversation

#: Answers after which the same request is sent again: a replica is full, gone or draining, or the router has none.
AGAIN = {408, 409, 429, 500, 502, 503, 504}
PAUSE = 0.05


class BrokenOffError(Exception):
    """A call that ended before its answer did."""


def ask(address: str, method: str, path: str, session: str, body: object = None) -> Iterator[Any]:
    """The JSON that the answer consists of: all of it, or the events of a stream as they come."""
    connection = http.client.HTTPConnection(address, timeout=120)
    headers = {"Content-Type": "application/json", "X-Session-ID": session}
    with closing(connection):
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            if answer.status in AGAIN:
                raise BrokenOffError(f"{answer.status}: {answer.read().decode()}")
            if answer.headers.get_content_type() != "text/event-stream":
                yield {**json.loads(answer.read()), "status_code": answer.status}
                return
            for line in answer:
                if line.startswith(b"data: {"):
                    yield json.loads(line[6:])
        except (OSError, http.client.HTTPException) as error:
            raise BrokenOffError(f"{type(error).__name__}: {error}") from error


@dataclass
class HttpConversation(Conversation):
    """A turn is one POST, which is sent again as it was until its answer ends as it should."""

    streams: bool = True
    _told: int = field(default=0, compare=False)  #: tokens of this turn that `arrived` has been told of

    async def run(self, address: str, arrived: Callable[[int], None]) -> None:
        await asyncio.to_thread(self._run, address, arrived)

    def _run(self, address: str, arrived: Callable[[int], None]) -> None:
        for number, text in enumerate(TURNS):
            options = {"seed": self.seed + number, "temperature": 1.0, "ignore_eos": True, "stream": self.streams}
            body = {**self._request(text), **options}
            end = time.monotonic() + 120
            self._told = 0
            while not self._turn(address, number, body, arrived):
                assert time.monotonic() < end, self.repeated[-1]
                time.sleep(PAUSE)
            arrived(TOKENS - self._told)

    def _turn(self, address: str, number: int, body: Any, arrived: Callable[[int], None]) -> bool:
        """Whether the turn ended well."""
        self._begin()
        try:
            position = 0
            for event in ask(address, "POST", self.path, self.name, body):
                pieces, is_end = self._read(event)
                if pieces:
                    position = self._hear(number, position, pieces)
                    new = min(1, TOKENS - self._told)
                    self._told += new
                    arrived(new)
                if is_end:
                    self._end(number, body)
                    return True
            raise BrokenOffError("the stream ended")
        except BrokenOffError as error:
            self.repeated.append(str(error))
            return self._was_done(address, number, body)

    def _hear(self, number: int, position: int, pieces: Any) -> int:
        """A whole answer comes once, which says nothing about pauses."""
        position = super()._hear(number, position, pieces)
        if not self.streams:
            self.messages.clear()
            self.news.clear()
        return position

    @property
    @abstractmethod
    def path(self) -> str: ...

    @abstractmethod
    def _request(self, text: str) -> dict[str, Any]: ...

    @abstractmethod
    def _begin(self) -> None:
        """A request is sent, once more or for the first time."""

    @abstractmethod
    def _read(self, event: Any) -> tuple[list[int | str], bool]:
        """What it adds to the answer, and whether the answer ends with it."""

    @abstractmethod
    def _end(self, number: int, body: Any) -> None:
        """The turn has ended well."""

    def _was_done(self, address: str, number: int, body: Any) -> bool:
        """Whether a turn whose end was lost had ended well all the same."""
        return False


@dataclass
class ChatConversation(HttpConversation):
    """The server keeps nothing: each turn has all that was said before."""

    _said: list[Any] = field(default_factory=list, compare=False)
    _text: str = field(default="", compare=False)

    @property
    def path(self) -> str:
        return "/v1/chat/completions"

    def _request(self, text: str) -> dict[str, Any]:
        self._said.append({"role": "user", "content": text})
        return {"messages": list(self._said), "max_tokens": TOKENS, "return_token_ids": True}

    def _begin(self) -> None:
        self._text = ""

    def _read(self, event: Any) -> tuple[list[int | str], bool]:
        if "error" in event:
            raise BrokenOffError(event["error"]["message"])
        choice = event["choices"][0]
        self._text += choice.get("delta", choice.get("message", {})).get("content") or ""
        assert choice["finish_reason"] in {None, "length"}
        return choice.get("token_ids") or [], choice["finish_reason"] is not None

    def _end(self, number: int, body: Any) -> None:
        assert len(self.answers[number]) == TOKENS
        self._said.append({"role": "assistant", "content": self._text})


@dataclass
class ResponseConversation(HttpConversation):
    """The server keeps the state behind each answer; a turn names the one that it goes on from."""

    _previous: str | None = field(default=None, compare=False)
    _id: str | None = field(default=None, compare=False)  #: of the answer that comes

    @property
    def path(self) -> str:
        return "/v1/responses"

    def _request(self, text: str) -> dict[str, Any]:
        return {"input": text, "previous_response_id": self._previous, "max_output_tokens": TOKENS}

    def _begin(self) -> None:
        self._id = None

    def _read(self, event: Any) -> tuple[list[int | str], bool]:
        if event.get("object") == "response":  # whole
            assert event["usage"]["output_tokens"] == TOKENS
            self._id = event["id"]
            return list(event["output"][0]["content"][0]["text"]), True
        if event["type"] == "response.created":
            self._id = event["response"]["id"]
        if event["type"] == "response.failed":
            raise BrokenOffError(event["response"]["error"]["message"])
        if event["type"] == "response.incomplete":
            assert event["response"]["usage"]["output_tokens"] == TOKENS
            return [], True
        return list(event["delta"]) if event["type"] == "response.output_text.delta" else [], False

    def _end(self, number: int, body: Any) -> None:
        self._previous = self._id

    def _was_done(self, address: str, number: int, body: Any) -> bool:
        if self._id is None:
            return False  # at most there is a state that nobody knows, until it expires
        try:
            (kept,) = ask(address, "GET", f"{self.path}/{self._id}", self.name)
        except BrokenOffError as error:
            self.repeated.append(str(error))
            return False
        assert kept["status_code"] in {200, 404}, kept
        if kept["status_code"] == 404:
            return False
        pieces, _ = self._read(kept)
        self._hear(number, 0, pieces)
        self._end(number, body)
        return True
