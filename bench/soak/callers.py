"""Clients with good manners: whatever happens around them, what they were promised must come."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from record import Record

from server import Server, code_of, metadata

# What a client may be told before its call has begun: the server is full, or cannot be reached.
BUSY = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
TIMEOUT = 600.0  # a machine that does something else too is slow, and nobody breaks a promise by that


@dataclass
class Kept:
    """Sessions that the server has acknowledged: their tokens, and whether they outlive it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    tokens: dict[str, int] = field(default_factory=dict)
    durable: dict[str, bool] = field(default_factory=dict)


class Caller(threading.Thread):
    """Makes one random call after the other, on one connection for a while and then on another."""

    def __init__(self, server: Server, record: Record, kept: Kept, name: str, seed: int, stop: threading.Event):
        super().__init__(name=name)
        from fma.v1 import generation_pb2, generation_pb2_grpc, sessions_pb2, sessions_pb2_grpc

        self._messages: Any = generation_pb2
        self._sessions: Any = sessions_pb2
        self._stubs: Any = (generation_pb2_grpc.GenerationStub, sessions_pb2_grpc.SessionsStub)
        self._server, self._record, self._kept, self._stop_event = server, record, kept, stop
        self._random = random.Random(f"{seed} {name}")
        self._own: list[str] = []  # sessions that only this caller changes

    def run(self) -> None:
        calls = (self._generate, self._score, self._tokens, self._describe, self._turn, self._fork, self._export)
        while not self._stop_event.is_set():
            compression = self._random.choice((grpc.Compression.NoCompression, grpc.Compression.Gzip))
            with self._server.channel(compression) as channel:
                self._generation, self._session = (stub(channel) for stub in self._stubs)
                for _ in range(self._random.randrange(1, 20)):
                    self._make(self._random.choice(calls))

    def _make(self, call: Any) -> None:
        what = call.__name__.strip("_")
        try:
            call()
            self._record.count(f"{what} OK")
        except grpc.RpcError as error:
            self._record.count(f"{what} {code_of(error).name}")
            if code_of(error) not in BUSY:
                self._record.fail(f"{self.name}: {what}: {error}")
        except AssertionError as broken:
            self._record.fail(f"{self.name}: {what}: {broken}")

    def _text(self) -> str:
        words = ("It", "was", "a", "dark", "and", "stormy", "night", "Zürich", "\N{SNOWMAN}", ".")
        return " ".join(self._random.choice(words) for _ in range(self._random.choice((1, 5, 50, 2_000))))

    def _options(self) -> dict[str, Any]:
        return {"metadata": metadata(), "timeout": TIMEOUT}

    def _stream(self, request: Any) -> Any:
        """The end of a Generate stream, which must come once the stream has begun."""
        events: Iterator[Any] = self._generation.Generate(request, **self._options())
        tokens, last, begun = 0, None, False
        try:
            for event in events:
                begun = True
                tokens += len(event.delta.token_ids)
                last = event
        except grpc.RpcError as error:
            assert not begun, f"a stream broke after {tokens} tokens: {error}"
            raise
        assert last is not None and last.HasField("finished"), "a stream ended without its last message"
        assert last.finished.usage.generated_tokens == request.max_tokens, "a stream is not complete"
        return last.finished

    def _generate(self) -> None:
        count = self._random.choice((1, 10, 300))
        self._stream(self._messages.GenerateRequest(text=self._text(), max_tokens=count, ignore_eos=True))

    def _score(self) -> None:
        request = self._messages.ScoreRequest(text="a " + self._text())
        events = list(self._generation.Score(request, **self._options()))
        assert events[-1].summary.scored_tokens > 0

    def _tokens(self) -> None:
        text = self._text()
        ids = self._generation.Tokenize(self._messages.TokenizeRequest(text=text), **self._options()).token_ids
        request = self._messages.DetokenizeRequest(token_ids=ids)
        assert self._generation.Detokenize(request, **self._options()).text.strip() == text.strip()

    def _describe(self) -> None:
        assert self._generation.GetModel(self._messages.GetModelRequest(), **self._options()).vocab_size > 0
        self._session.List(self._sessions.ListSessionsRequest(), **self._options())

    def _acknowledged(self, session: Any) -> None:
        with self._kept.lock:
            self._kept.tokens[session.session_id] = session.tokens
            self._kept.durable[session.session_id] = session.durable

    def _pick(self) -> str:
        """A session of this caller, an old or a new one."""
        if self._own and (len(self._own) > 3 or self._random.random() < 0.7):
            return self._random.choice(self._own)
        session = self._session.Create(self._sessions.CreateSessionRequest(), **self._options())
        self._own.append(session.session_id)
        self._acknowledged(session)
        return str(session.session_id)

    def _turn(self) -> None:
        name = self._pick()
        request = self._messages.GenerateRequest(text=self._text(), max_tokens=5, ignore_eos=True, session_id=name)
        session = self._stream(request).session
        with self._kept.lock:
            before = self._kept.tokens[name]
        assert session.tokens > before, f"session {name} had {before} tokens and has {session.tokens}"
        self._acknowledged(session)

    def _fork(self) -> None:
        name = self._pick()
        answer = self._session.Fork(self._sessions.ForkSessionRequest(session_id=name), **self._options())
        child = answer.children[0]
        assert child.tokens == self._kept.tokens[name]
        request = self._sessions.DeleteSessionRequest(session_id=child.session_id)
        self._session.Delete(request, **self._options())

    def _export(self) -> None:
        name = self._pick()
        request = self._sessions.ExportSessionRequest(session_id=name)
        pieces = [piece.data for piece in self._session.Export(request, **self._options())]
        copy = self._sessions.CreateSessionRequest(session_id=f"copy-{self._random.getrandbits(60):x}")
        head = self._sessions.ImportSessionRequest(session=copy, data=pieces[0])
        rest = [self._sessions.ImportSessionRequest(data=piece) for piece in pieces[1:]]
        session = self._session.Import(iter([head, *rest]), **self._options())
        assert session.tokens == self._kept.tokens[name]
        request = self._sessions.DeleteSessionRequest(session_id=session.session_id)
        self._session.Delete(request, **self._options())
