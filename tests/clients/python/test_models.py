"""Which model a client means."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from fma_client import AsyncClient, Client, NotFoundError
from programs import DEMO_MODEL, GOLDEN, serve


@pytest.fixture(scope="module")
def two_models() -> Iterator[str]:
    with serve(DEMO_MODEL, "--model", f"small={GOLDEN / 'average'}", "--threads", 1) as found:
        yield found


def test_a_client_means_the_first_model_or_the_one_it_names(two_models: str) -> None:
    with Client(two_models) as first, Client(two_models, model="small") as small:
        assert [model.name for model in first.list_models()] == [DEMO_MODEL.name, "small"]
        assert first.model().name == DEMO_MODEL.name
        assert small.model().name == "small"
        assert len(small.generate([1, 2, 3], max_tokens=4, ignore_eos=True).read()[0].token_ids) == 4
        assert small.score([1, 2, 3]).scored_tokens == 2


def test_a_session_belongs_to_the_model_of_its_client(two_models: str) -> None:
    with (
        Client(two_models) as first,
        Client(two_models, model="small") as small,
        small.create_session("talk") as talk,
    ):
        talk.generate([1, 2, 3], max_tokens=2, ignore_eos=True).read()
        with small.import_session(talk.export()) as copy:
            assert copy.info().tokens == talk.info().tokens
        with pytest.raises(NotFoundError):
            first.session("talk").info()


def test_a_model_that_is_not_served_is_not_found(two_models: str) -> None:
    with Client(two_models, model="none") as client, pytest.raises(NotFoundError, match="small"):
        client.model()


def test_the_asyncio_client_too(two_models: str) -> None:
    async def names() -> tuple[str, list[str]]:
        async with AsyncClient(two_models, model="small") as client:
            return (await client.model()).name, [model.name for model in await client.list_models()]

    assert asyncio.run(names()) == ("small", [DEMO_MODEL.name, "small"])
