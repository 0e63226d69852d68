"""Vectors and masks from an encoder."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import pytest
from encoders import byte_encoder
from fma_client import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
)
from programs import GOLDEN, serve


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose first model is an encoder of bytes."""
    model = byte_encoder(tmp_path_factory.mktemp("models") / "reader")
    with serve(model, "--model", f"small={GOLDEN / 'average'}", "--threads", 1) as found:
        yield found


@pytest.fixture
def client(reader: str) -> Iterator[Client]:
    with Client(reader) as made:
        yield made


def test_vectors_come_in_the_order_of_their_texts(client: Client) -> None:
    long, short, ids = client.embed(["x" * 5000, "ab", [97, 98]])
    assert short == ids and long.tokens == 5000 and short.tokens == 2
    assert math.isclose(sum(value * value for value in long.values), 1, rel_tol=1e-5)
    assert client.embed(["x" * 5000]) == [long]


def test_masks_are_filled(client: Client) -> None:
    (text,) = client.fill_mask(["a ___ b ___"], mask="___", top=3)
    assert text.tokens == 7 and [mask.position for mask in text.masks] == [2, 6]
    assert all(len(mask.candidates) == 3 for mask in text.masks)
    best = text.masks[0].candidates
    assert best[0].logprob >= best[1].logprob >= best[2].logprob
    assert client.fill_mask([[97, 32, 256]])[0].masks[0].position == 2
    (default,) = client.fill_mask(["[MASK]"], mask="[MASK]")
    assert len(default.masks[0].candidates) == 5


def test_models_say_that_they_are_encoders(client: Client) -> None:
    encoder, decoder = client.list_models()
    assert encoder.encoder and encoder.mask_token_id == 256 and encoder.hidden_size == 32
    assert not decoder.encoder and decoder.mask_token_id is None


def test_what_is_wrong_is_raised(client: Client, reader: str) -> None:
    with pytest.raises(TypeError, match="one text"):
        client.embed("a text")
    with pytest.raises(InvalidArgumentError, match="0 texts"):
        client.embed([])
    with pytest.raises(InvalidArgumentError, match="without a mask"):
        client.fill_mask(["no [MASK] is named"])
    with pytest.raises(FailedPreconditionError, match="an encoder, which generates nothing"):
        client.generate("a").text()
    with Client(reader, model="small") as decoder, pytest.raises(FailedPreconditionError, match="is a decoder"):
        decoder.embed([[1]])


def test_a_deadline_ends_a_long_text(client: Client) -> None:
    with pytest.raises(DeadlineExceededError):
        client.embed(["x" * 500_000], timeout=0.3)
    assert client.embed(["x"])[0].tokens == 1


def test_the_asyncio_client_too(client: Client, reader: str) -> None:
    async def ask() -> tuple[object, object]:
        async with AsyncClient(reader) as there:
            return await there.embed(["ab", "c"]), await there.fill_mask(["a_"], mask="_", top=2)

    vectors, masks = asyncio.run(ask())
    assert vectors == client.embed(["ab", "c"]) and masks == client.fill_mask(["a_"], mask="_", top=2)
