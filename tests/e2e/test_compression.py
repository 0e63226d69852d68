"""Compressed requests: served like any other, and never more memory than a request may take."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from pathlib import Path

import grpc
import pytest
from http2 import Connection
from service import Service

OK, INVALID, NOT_FOUND, EXHAUSTED, UNAUTHENTICATED = 0, 3, 5, 8, 16
MEBIBYTE = 1 << 20
GENERATE = "/fma.v1.Generation/Generate"
TOKENIZE = "/fma.v1.Generation/Tokenize"
IMPORT = "/fma.v1.Sessions/Import"
MODEL = "/fma.v1.Generation/GetModel"
HEALTH = "/grpc.health.v1.Health/Check"


def deflated(parts: list[bytes], encoding: str) -> bytes:
    """The parts, one after the other, as gRPC compresses them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    return b"".join([packer.compress(part) for part in parts] + [packer.flush()])


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def text_field(number: int, size: int) -> bytes:
    """The beginning of a message with a text of `size` bytes, which is yet to follow."""
    return bytes([number << 3 | 2]) + varint(size)


def bomb(encoding: str) -> bytes:
    """A message with a text of a gibibyte, in some 1 MiB."""
    return deflated([text_field(1, 1024 * MEBIBYTE)] + 1024 * [bytes(MEBIBYTE)], encoding)


def peak_memory(server: Service) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return 1024 * int(found.group(1))


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_takes_no_more_than_a_request(encoding: str, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice {hashlib.sha256(b'right').hexdigest()}\n")
    message = bomb(encoding)
    assert len(message) < 2 * MEBIBYTE
    limit = 32 * MEBIBYTE
    with Service("--tokens", tokens, "--max-request-bytes", limit) as server, Connection(server.grpc_port) as client:
        assert server.run("generate", "x", "--max-tokens", 3, "--token", "right")[0] == 0
        before = peak_memory(server)
        for method in (GENERATE, TOKENIZE, IMPORT):
            assert client.call(method, message, encoding) == UNAUTHENTICATED
        assert peak_memory(server) < before + limit // 2
        for method in (GENERATE, TOKENIZE, IMPORT):
            assert client.call(method, message, encoding, authorization="Bearer right") == EXHAUSTED
        assert peak_memory(server) < before + 2 * limit
        # The health service asks for no token.
        assert client.call(HEALTH, message, encoding) == INVALID
        assert peak_memory(server) < before + 2 * limit
        assert server.run("generate", "x", "--max-tokens", 3, "--token", "right")[0] == 0


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_the_limit_is_of_what_a_message_holds(encoding: str) -> None:
    with Service("--max-request-bytes", 2048) as server, Connection(server.grpc_port) as client:

        def tokenize(size: int) -> int:
            return client.call(TOKENIZE, deflated([text_field(1, size), size * b"x"], encoding), encoding)

        assert tokenize(2048 - 3) == OK
        assert tokenize(2048 - 2) == EXHAUSTED


def test_damaged_messages_are_called_so() -> None:
    whole = gzip.compress(text_field(1, 300) + 300 * b"x")
    with Service() as server, Connection(server.grpc_port) as client:
        assert client.call(TOKENIZE, whole, "gzip") == OK
        for message in (whole[:-9], whole[:-1], whole[: len(whole) // 2], whole + b"x", b"\0" + whole[1:], b"noise"):
            for method in (GENERATE, TOKENIZE, IMPORT):
                assert client.call(method, message, "gzip") == INVALID, message
        assert client.call(TOKENIZE, whole, "gzip") == OK


def test_a_compressed_request_finds_its_model() -> None:
    text = text_field(1, 300_000) + 300_000 * b"x"
    with Service("--max-prompt-tokens", 5) as server, Connection(server.grpc_port) as client:
        for encoding in ("gzip", "deflate"):
            for name, code in ((b"nothing", NOT_FOUND), (b"fma-books-11m", INVALID), (b"", INVALID)):
                model = varint(22 << 3 | 2) + varint(len(name)) + name  # the field `model`
                assert client.call(GENERATE, deflated([text, model], encoding), encoding) == code


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_clients_that_compress_get_the_same_answers(compression: grpc.Compression) -> None:
    text = 200 * "It was a dark and stormy night. "
    prompt = text_field(1, len(text)) + text.encode()
    assert len(zlib.compress(prompt)) < len(prompt)
    with Service() as server:

        def ask(method: str, message: bytes, **options: object) -> bytes:
            with grpc.insecure_channel(server.address, **options) as channel:
                answer: bytes = channel.unary_unary(method)(message, timeout=60)
                return answer

        for method, message in ((TOKENIZE, prompt), (MODEL, b""), (HEALTH, b"")):
            assert ask(method, message, compression=compression) == ask(method, message)


def test_health_of_a_client_that_compresses_everything() -> None:
    name = b"fma.v1.Generation"
    message = text_field(1, len(name)) + name
    with Service() as server, Connection(server.grpc_port) as client:
        for encoding in ("gzip", "deflate"):
            assert client.call(HEALTH, deflated([message], encoding), encoding) == OK
