"""PyPI's `openai`, unchanged."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import openai
import pytest
from service import Service

PROMPT = "It was a dark"


@pytest.fixture
def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["books"]
    assert client.models.retrieve("books").owned_by == "fma-server"


def test_completion_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="books", prompt=PROMPT, max_tokens=20, seed=7, logprobs=2)
    assert whole.usage and whole.usage.completion_tokens == 20
    choice = whole.choices[0]
    assert choice.finish_reason == "length" and choice.logprobs and choice.logprobs.tokens
    assert len(choice.logprobs.tokens) == 20
    stream = client.completions.create(
        model="books", prompt=PROMPT, max_tokens=20, seed=7, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == choice.text
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens == 20


def test_chat_whole_and_streamed(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": PROMPT}]
    whole = client.chat.completions.create(
        model="books", messages=messages, max_completion_tokens=20, seed=7, logprobs=True, top_logprobs=2
    )
    message = whole.choices[0].message
    assert message.role == "assistant" and message.content
    assert whole.choices[0].logprobs and len(whole.choices[0].logprobs.content or []) == 20
    text = ""
    with client.chat.completions.stream(
        model="books", messages=messages, max_completion_tokens=20, seed=7
    ) as stream:
        for event in stream:
            if event.type == "content.delta":
                text += event.delta
    assert text == message.content


def test_responses_are_followed_got_and_deleted(client: openai.OpenAI) -> None:
    how = {"model": "books", "max_output_tokens": 20}
    first = client.responses.create(input=PROMPT, instructions="Be brief.", metadata={"a": "b"}, **how)
    assert first.output_text and first.status in ("completed", "incomplete") and first.metadata == {"a": "b"}
    assert first.usage and first.usage.input_tokens_details.cached_tokens == 0
    second = client.responses.create(input="And then?", previous_response_id=first.id, **how)
    other = client.responses.create(
        input=[{"role": "user", "content": [{"type": "input_text", "text": "And then?"}]}],
        previous_response_id=first.id,
        store=False,
        **how,
    )
    for follower in (second, other):
        assert follower.usage and follower.usage.input_tokens_details.cached_tokens > first.usage.input_tokens
        assert follower.previous_response_id == first.id
    assert client.responses.retrieve(second.id) == second
    client.responses.delete(first.id)
    assert client.responses.create(input="At last.", previous_response_id=second.id, **how).output_text
    for gone in (first.id, other.id):
        with pytest.raises(openai.NotFoundError, match=gone):
            client.responses.retrieve(gone)
    with pytest.raises(openai.NotFoundError) as unknown:
        client.responses.create(input="x", previous_response_id=first.id, **how)
    assert unknown.value.code == "previous_response_not_found" and unknown.value.param == "previous_response_id"
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(input="x", tools=[{"type": "web_search"}], **how)
    assert refused.value.param == "tools"


def test_a_streamed_response(client: openai.OpenAI) -> None:
    text = ""
    with client.responses.stream(model="books", input=PROMPT, max_output_tokens=20) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                text += event.delta
        last = event
    assert last.type in ("response.completed", "response.incomplete")
    assert last.response.output_text == text
    assert client.responses.retrieve(last.response.id).output_text == text
    events = list(client.responses.create(model="books", input=PROMPT, max_output_tokens=5, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created"


def test_async(url: str) -> None:
    async def run() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any") as client:

            async def one(seed: int) -> str:
                stream = await client.completions.create(
                    model="books", prompt=PROMPT, max_tokens=10, seed=seed, stream=True
                )
                return "".join([chunk.choices[0].text async for chunk in stream])

            return list(await asyncio.gather(*(one(seed) for seed in range(8))))

    assert len(set(asyncio.run(run()))) > 1


def test_errors_have_their_classes(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.completions.create(model="other", prompt=PROMPT)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.completions.create(model="books", prompt=PROMPT, top_p=2)
    assert wrong.value.param == "top_p"
    with pytest.raises(openai.BadRequestError, match='model "books" is a decoder'):
        client.embeddings.create(model="books", input="x")


def test_embeddings(encoder_url: str) -> None:
    with openai.OpenAI(base_url=f"{encoder_url}/v1", api_key="any") as client:
        # Without a format the package asks for base64, and decodes it.
        both = client.embeddings.create(model="reader", input=["a text", "b"])
        assert [item.index for item in both.data] == [0, 1] and both.usage.prompt_tokens == 7
        numbers = client.embeddings.create(model="reader", input="b", encoding_format="float", dimensions=32)
        assert numbers.data[0].embedding == both.data[1].embedding
        assert abs(sum(value * value for value in numbers.data[0].embedding) - 1) < 1e-5
        assert client.embeddings.create(model="reader", input=[[98]]).data[0].embedding == both.data[1].embedding
        with pytest.raises(openai.BadRequestError) as wrong:
            client.embeddings.create(model="reader", input="b", dimensions=16)
        assert wrong.value.param == "dimensions"


def test_unknown_fields_are_named(client: openai.OpenAI) -> None:
    answer = client.completions.with_raw_response.create(
        model="books", prompt=PROMPT, max_tokens=1, user="me", extra_body={"no_stop_trim": False}
    )
    assert answer.headers["x-fma-ignored-fields"] == "no_stop_trim, user"
    assert answer.parse().choices


def test_a_stream_that_is_left_ends_its_request(server: Service, client: openai.OpenAI) -> None:
    stream = client.completions.create(
        model="books", prompt=PROMPT, max_tokens=1_000_000, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    assert client.completions.create(model="books", prompt=PROMPT, max_tokens=1).choices


def test_keys(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"someone {hashlib.sha256(b'secret').hexdigest()}\n")
    with Service("--openai", "127.0.0.1:0", "--tokens", tokens) as server:
        base = f"http://127.0.0.1:{server.openai_port}/v1"
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=base, api_key="wrong").models.list()
        assert openai.OpenAI(base_url=base, api_key="secret").models.list().data
