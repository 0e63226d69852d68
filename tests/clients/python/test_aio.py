"""The asyncio client against a real server gives what the blocking one gives."""

from __future__ import annotations

import asyncio

import fma_client
import pytest
from fma_client import AsyncClient, Client, Retry

PROMPT = "It was a dark and stormy night"


async def test_everything_that_the_blocking_client_gives(address: str, client: Client) -> None:
    options = {"max_tokens": 12, "seed": 5, "logprobs": True, "n": 2}
    async with AsyncClient(address) as other:
        stream = other.generate(PROMPT, **options)
        deltas = [delta async for delta in stream]
        expected = client.generate(PROMPT, **options).read()
        for mine, theirs in zip(stream.completions, expected, strict=True):
            assert (mine.text, mine.token_ids, mine.logprobs) == (theirs.text, theirs.token_ids, theirs.logprobs)
            assert "".join(delta.text for delta in deltas if delta.index == mine.index) == mine.text
        assert (await other.score(PROMPT)).total_logprob == client.score(PROMPT).total_logprob
        tokens = await other.tokenize(PROMPT)
        assert tokens == client.tokenize(PROMPT)
        assert await other.detokenize(tokens.token_ids) == PROMPT
        assert await other.model() == client.model()


async def test_many_at_once(address: str, client: Client) -> None:
    async with AsyncClient(address) as other:
        texts = await asyncio.gather(*(other.generate(PROMPT, max_tokens=8, seed=s).text() for s in range(30)))
    assert texts == [client.generate(PROMPT, max_tokens=8, seed=seed).text() for seed in range(30)]


async def test_errors_and_cancelling(address: str) -> None:
    async with AsyncClient(address) as client:
        with pytest.raises(fma_client.InvalidArgumentError, match="max_tokens"):
            await client.generate("x", max_tokens=0).read()
        with pytest.raises(fma_client.DeadlineExceededError):
            await client.generate("x", max_tokens=10**8, ignore_eos=True, timeout=0.2).read()
        stream = client.generate("endless", max_tokens=10**8, ignore_eos=True)
        await anext(stream)
        stream.cancel()
        with pytest.raises(fma_client.CancelledError):
            await stream.read()

        # A task that is cancelled ends its call and stays cancelled.
        other = client.generate("endless", max_tokens=10**8, ignore_eos=True)
        task = asyncio.create_task(other.read())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_no_server_is_unavailable() -> None:
    async with AsyncClient("127.0.0.1:1", retry=Retry(attempts=2, first_delay=0.01)) as client:
        for call in (client.model(), client.generate("x").read(), client.score("x")):
            with pytest.raises(fma_client.UnavailableError):
                await call
