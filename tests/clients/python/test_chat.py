"""Chats of both clients, with and without a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fma_client import AsyncClient, Client, FailedPreconditionError, InvalidArgumentError
from programs import DEMO_MODEL, chat_model, serve

HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who are you?"}]
OPTIONS = {"max_tokens": 8, "temperature": 0}


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = chat_model(tmp_path_factory.mktemp("models") / "talker")
    with serve(model, "--model", f"plain={DEMO_MODEL}", "--threads", 1) as found:
        yield found


def test_the_template_makes_the_prompt(chats: str) -> None:
    with Client(chats) as client:
        assert client.model().chat
        answer = client.chat(HELLO, echo=True, **OPTIONS)
        answer.read()
        prompt = client.detokenize([token.token_id for token in answer.prompt])
        assert prompt == "system: Be brief.\n\nuser: Who are you?\n\nassistant:"
        assert client.chat("Hi", **OPTIONS).text() == client.chat([{"role": "user", "content": "Hi"}], **OPTIONS).text()


def test_a_session_takes_only_what_is_new(chats: str) -> None:
    with Client(chats) as client, client.create_session() as talk:
        assert talk.chat(HELLO, **OPTIONS).text() == client.chat(HELLO, **OPTIONS).text()
        second = talk.chat("And then?", echo=True, **OPTIONS)
        second.read()
        # The answer was cut, so the template ends it now.
        new = client.detokenize([token.token_id for token in second.prompt])
        assert new == "\n\nuser: And then?\n\nassistant:"
        before = talk.info().tokens
        assert talk.chat(**OPTIONS).read()[0].usage.generated_tokens == 8, "the answer goes on"
        assert talk.info().tokens == before + 8


def test_what_is_refused(chats: str) -> None:
    with Client(chats) as client, Client(chats, model="plain") as plain:
        assert not plain.model().chat
        with pytest.raises(FailedPreconditionError, match="chat template is missing"):
            plain.chat("Hi").read()
        with pytest.raises(InvalidArgumentError, match="nobody speaks"):
            client.chat([{"role": "nobody", "content": ""}]).read()
        with pytest.raises(InvalidArgumentError, match="messages is empty"):
            client.chat([]).read()
        with pytest.raises(InvalidArgumentError, match="top_p is 2"):
            client.chat("Hi", top_p=2).read()
        with pytest.raises(TypeError, match="'role' and 'content'"):
            client.chat([{"role": "user"}])
        with pytest.raises(TypeError, match="no option 'mood'"):
            client.chat("Hi", mood="good")  # type: ignore[call-arg]


async def test_the_asyncio_client_too(chats: str) -> None:
    async with AsyncClient(chats) as client, await client.create_session() as talk:
        with Client(chats) as other:
            expected = other.chat(HELLO, **OPTIONS).text()
        assert await client.chat(HELLO, **OPTIONS).text() == expected
        assert await talk.chat(HELLO, **OPTIONS).text() == expected
        assert await talk.chat("And then?", **OPTIONS).text() != ""
