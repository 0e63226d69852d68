"""Clients without manners: garbage, slow and vanished ones, and requests that must be refused."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading

import grpc
from record import Record

from server import MAX_REQUEST_BYTES, Server, code_of, metadata

GENERATE = "/fma.v1.Generation/Generate"
TOKENIZE = "/fma.v1.Generation/Tokenize"
ENDLESS = b"\n\x01x" + b"\x20\xc0\x84\x3d\x28\x01"  # text "x", max_tokens 1,000,000, ignore_eos
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
INVALID = grpc.StatusCode.INVALID_ARGUMENT
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
# Who comes while the server is full or stopped is not answered as he deserves.
NOT_NOW = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, EXHAUSTED}


class Stranger(threading.Thread):
    def __init__(self, server: Server, record: Record, name: str, seed: int, stop: threading.Event):
        super().__init__(name=name)
        self._server, self._record, self._stop_event = server, record, stop
        self._random = random.Random(f"{seed} {name}")

    def run(self) -> None:
        tricks = (self._garbage, self._silence, self._vanish, self._read_slowly, self._bomb, self._refused)
        while not self._stop_event.is_set():
            trick = self._random.choice(tricks)
            with contextlib.suppress(OSError):
                trick()
            self._record.count(trick.__name__.strip("_"))

    def _connect(self) -> socket.socket:
        port = self._random.choice((self._server.service.grpc_port, self._server.service.http_port))
        source = (f"127.0.0.{self._random.randrange(2, 9)}", 0)
        return socket.create_connection(("127.0.0.1", port), timeout=10, source_address=source)

    def _garbage(self) -> None:
        known = (b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /metrics HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01")
        for _ in range(50):
            with contextlib.suppress(OSError), self._connect() as client:
                client.sendall(self._random.choice(known) + self._random.randbytes(self._random.randrange(300)))
                if self._random.random() < 0.3:  # the kernel then sends RST in place of FIN
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _silence(self) -> None:
        with contextlib.ExitStack() as held:
            for _ in range(20):
                held.enter_context(self._connect())
            self._stop_event.wait(self._random.uniform(0, 3))

    def _vanish(self) -> None:
        """Leaves in the middle of a stream, with its connection or with a word."""
        with contextlib.suppress(grpc.RpcError), self._server.channel() as channel:
            stream = channel.unary_stream(GENERATE)(ENDLESS, metadata=metadata(), timeout=60)
            for _ in range(self._random.randrange(20)):
                next(stream, None)
            if self._random.random() < 0.5:
                stream.cancel()

    def _read_slowly(self) -> None:
        with contextlib.suppress(grpc.RpcError), self._server.channel() as channel:
            stream = channel.unary_stream(GENERATE)(ENDLESS, metadata=metadata(), timeout=self._random.uniform(0.1, 4))
            next(stream, None)
            self._stop_event.wait(self._random.uniform(0, 4))

    def _bomb(self) -> None:
        size = MAX_REQUEST_BYTES + 1
        message = b"\n" + bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21])
        message += bytes(size)
        gzip, plain = grpc.Compression.Gzip, grpc.Compression.NoCompression
        self._expect(message, {EXHAUSTED}, "soak", self._random.choice((gzip, plain)))
        self._expect(message, {UNAUTHENTICATED}, "wrong", gzip)

    def _refused(self) -> None:
        self._expect(b"\n\x01x", {UNAUTHENTICATED}, "wrong")
        self._expect(b"\n\x02\xff\xff", {INVALID})  # no UTF-8
        self._expect(self._random.randbytes(30), {INVALID, grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND})

    def _expect(
        self,
        message: bytes,
        codes: set[grpc.StatusCode],
        token: str = "soak",
        compression: grpc.Compression = grpc.Compression.NoCompression,
    ) -> None:
        code = grpc.StatusCode.OK
        with self._server.channel(compression) as channel:
            try:
                channel.unary_unary(TOKENIZE)(message, metadata=metadata(token), timeout=60)
            except grpc.RpcError as error:
                code = code_of(error)
        if code not in codes | NOT_NOW:
            self._record.fail(f"{self.name}: {len(message)} bytes got {code}, not one of {codes}")
