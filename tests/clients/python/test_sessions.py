"""Sessions through both clients, against a real server with a session directory."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import fma_client
import pytest
from certificates import Authority
from fma_client import AsyncClient, Client, Tls
from programs import DEMO_MODEL, free_port, serve

GREEDY = {"max_tokens": 8, "temperature": 0, "ignore_eos": True}
FIRST, SECOND = "It was a dark and stormy night", " and the ship"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("sessions")
    with serve(DEMO_MODEL, "--threads", 1, "--session-dir", folder) as found:
        yield found


def plain(client: Client, *turns: str) -> list[list[int]]:
    """The tokens of each turn, from prompts that hold all that came before."""
    held: list[int] = []
    outputs = []
    for turn in turns:
        held += client.tokenize(turn).token_ids
        outputs.append(client.generate(held, **GREEDY).read()[0].token_ids)
        held += outputs[-1]
    return outputs


def test_a_conversation_is_that_of_whole_prompts(client: Client) -> None:
    with client.create_session() as chat:
        stream = chat.generate(FIRST, **GREEDY)
        (first,) = stream.read()
        (second,) = chat.generate(SECOND, **GREEDY).read()
        assert [first.token_ids, second.token_ids] == plain(client, FIRST, SECOND)
        assert second.usage is not None and second.usage.prompt_tokens < 10, "only what is new is read"
        assert second.session is not None and second.session.durable
        info = chat.info()
        assert info.tokens == second.session.tokens and info.durable and info.bytes > 0
    with pytest.raises(fma_client.NotFoundError):
        chat.info()


def test_only_reading_a_prompt(client: Client) -> None:
    with client.create_session() as chat:
        (nothing,) = chat.generate(FIRST, max_tokens=0).read()
        assert nothing.token_ids == [] and chat.info().tokens == len(client.tokenize(FIRST).token_ids)
        assert chat.generate(**GREEDY).read()[0].token_ids == plain(client, FIRST)[0]


def test_forks_go_their_own_ways(client: Client) -> None:
    with client.create_session() as chat:
        chat.generate(FIRST, **GREEDY).read()
        children = chat.fork(3)
        outputs = {tuple(child.generate(SECOND, **GREEDY).read()[0].token_ids) for child in [chat, *children]}
        assert outputs == {tuple(plain(client, FIRST, SECOND)[1])}
        assert children[0].rewind(0).tokens == 0
        assert children[0].generate(FIRST, **GREEDY).read()[0].token_ids == plain(client, FIRST)[0]
        for child in children:
            child.delete()


def test_rewinding_forgets(client: Client) -> None:
    with client.create_session() as chat:
        chat.generate(FIRST, **GREEDY).read()
        held = chat.info().tokens
        before = chat.generate(SECOND, **GREEDY).read()[0].token_ids
        assert chat.rewind(held).tokens == held
        assert chat.generate(SECOND, **GREEDY).read()[0].token_ids == before


def test_listing_and_updating(client: Client) -> None:
    names = [f"listed-{number}" for number in range(7)]
    made = [client.create_session(name, ttl_seconds=100) for name in names]
    assert [info.session_id for info in client.list_sessions(page_size=2) if info.session_id in names] == names
    assert made[0].update(pinned=True).pinned and made[0].update(ttl_seconds=5).pinned
    assert made[0].info().ttl_seconds == 5
    with pytest.raises(fma_client.AlreadyExistsError):
        client.create_session(names[0])
    for session in made:
        client.session(session.session_id).delete()


def test_blobs_carry_a_session_over(client: Client) -> None:
    with client.create_session() as chat:
        chat.generate(FIRST, **GREEDY).read()
        blob = b"".join(chat.export())
        assert len(b"".join(chat.export(head_only=True))) <= len(blob)
        expected = plain(client, FIRST, SECOND)[1]
        pieces = [blob[at : at + 1000] for at in range(0, len(blob), 1000)]
        for given in (blob, pieces):
            with client.import_session(given) as copy:
                assert copy.session_id != chat.session_id
                assert copy.generate(SECOND, **GREEDY).read()[0].token_ids == expected
        damaged = bytearray(blob)
        damaged[len(blob) // 2] ^= 1
        with pytest.raises(fma_client.InvalidArgumentError):
            client.import_session(bytes(damaged))


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_another_kind_of_cache_takes_no_larger_states(client: Client, kind: str) -> None:
    with client.create_session() as chat:
        chat.generate(FIRST, **GREEDY).read()
        blob = b"".join(chat.export())
    with serve(DEMO_MODEL, "--threads", 1, "--cache-dtype", kind) as address, Client(address) as less:
        assert less.model().slot_bytes < client.model().slot_bytes
        with less.create_session() as own:
            assert len(own.generate(FIRST, **GREEDY).read()[0].token_ids) == GREEDY["max_tokens"]
            mine = b"".join(own.export())
            expected = own.generate(SECOND, **GREEDY).read()[0].token_ids
        with less.import_session(mine) as copy:
            assert copy.generate(SECOND, **GREEDY).read()[0].token_ids == expected
        with pytest.raises(fma_client.FmaError, match=f"type of a state is f32; allowed: .*int8, as slots are {kind}"):
            less.import_session(blob)
    with client.import_session(mine) as copy:
        assert len(copy.generate(SECOND, **GREEDY).read()[0].token_ids) == GREEDY["max_tokens"]


def test_two_calls_at_once_do_not_mix(client: Client) -> None:
    with client.create_session() as chat:
        with chat.generate(FIRST, max_tokens=10**8, ignore_eos=True) as stream:
            next(stream)
            with pytest.raises(fma_client.AbortedError):
                chat.generate(SECOND).read()
        # The cancelled call leaves it as it was, once the server has noticed.
        for _ in range(100):
            try:
                chat.generate(FIRST, **GREEDY).read()
                break
            except fma_client.AbortedError:
                threading.Event().wait(0.05)
        assert chat.info().tokens == len(client.tokenize(FIRST).token_ids) + GREEDY["max_tokens"]


async def test_the_asyncio_client_does_the_same(address: str, client: Client) -> None:
    async with AsyncClient(address) as other:
        async with await other.create_session() as chat:
            (first,) = await chat.generate(FIRST, **GREEDY).read()
            (child,) = await chat.fork()
            (second,) = await child.generate(SECOND, **GREEDY).read()
            assert [first.token_ids, second.token_ids] == plain(client, FIRST, SECOND)
            blob = b"".join([piece async for piece in child.export()])
            async with await other.import_session(blob) as copy:
                assert (await copy.info()).tokens == (await child.info()).tokens
            assert (await child.rewind(3)).tokens == 3
            assert (await child.update(pinned=True)).pinned
            assert child.session_id in [info.session_id async for info in other.list_sessions(page_size=1)]
            await child.delete()
        with pytest.raises(fma_client.NotFoundError):
            await chat.info()


def test_sessions_outlive_the_server(tmp_path: Path) -> None:
    port = free_port()
    with Client(f"127.0.0.1:{port}") as client:
        for turn in range(2):
            with serve(DEMO_MODEL, "--threads", 1, "--session-dir", tmp_path, listen=f"127.0.0.1:{port}"):
                chat = client.session("kept") if turn else client.create_session("kept")
                output = chat.generate((FIRST, SECOND)[turn], **GREEDY).read()[0].token_ids
                assert output == plain(client, FIRST, SECOND)[turn]


class Restart(NamedTuple):
    """Two servers one after the other at one port."""

    port: int
    wanted: threading.Event  # by the test: the first server is to end
    seen: threading.Event  # it has ended, and the second one starts
    done: threading.Event  # by the test: the second one is to end

    def run(self, folder: Path, flags: tuple[object, ...]) -> None:
        own = ("--threads", 1, "--session-dir", folder, "--drain-seconds", 0)
        for wait in (self.wanted, self.done):
            with serve(DEMO_MODEL, *own, *flags, listen=f"127.0.0.1:{self.port}"):
                assert wait.wait(120)
            self.seen.set()


@contextmanager
def restarting(folder: Path, *flags: object) -> Iterator[Restart]:
    restart = Restart(free_port(), *(threading.Event() for _ in range(3)))
    with ThreadPoolExecutor(1) as pool:
        servers = pool.submit(restart.run, folder, flags)
        try:
            yield restart
        finally:
            restart.wanted.set()
            restart.done.set()
        servers.result()


LONG = {"max_tokens": 1500, "seed": 9, "ignore_eos": True, "logprobs": True}
PATIENT = fma_client.Retry(attempts=500, max_delay=0.2)


def test_a_restart_in_the_middle_leaves_no_gap(client: Client, tmp_path: Path) -> None:
    (expected,) = client.generate(FIRST, **LONG).read()
    with (
        restarting(tmp_path) as restart,
        Client(f"127.0.0.1:{restart.port}", retry=PATIENT) as other,
    ):
        assert other.model().name
        stream = other.create_session("long").generate(FIRST, **LONG)
        for count, _ in enumerate(stream):
            if count == 20:
                restart.wanted.set()
        assert restart.seen.is_set(), "the first server ended in the middle"
        (completion,) = stream.completions
        held = other.session("long").info()
    assert completion.token_ids == expected.token_ids
    assert completion.text == expected.text and completion.logprobs == expected.logprobs
    assert held.tokens == len(client.tokenize(FIRST).token_ids) + LONG["max_tokens"]


async def test_the_same_with_asyncio_mutual_tls_and_a_token(client: Client, tmp_path: Path) -> None:
    (expected,) = client.generate(FIRST, **LONG).read()
    authority, tokens = Authority.create(tmp_path / "ca"), tmp_path / "tokens"
    pair, own = authority.issue("server"), authority.issue("client")
    tokens.write_text(f"alice {hashlib.sha256(b'secret').hexdigest()}\n")
    flags = ("--tls-cert", pair.cert, "--tls-key", pair.key, "--tls-client-ca", authority.cert, "--tokens", tokens)
    with restarting(tmp_path / "sessions", *flags) as restart:
        tls = Tls(ca=authority.cert, cert=own.cert, key=own.key)
        async with AsyncClient(f"127.0.0.1:{restart.port}", tls=tls, token="secret", retry=PATIENT) as other:
            assert (await other.model()).name
            stream = (await other.create_session("long")).generate(FIRST, **LONG)
            count = 0
            async for _ in stream:
                count += 1
                if count == 20:
                    restart.wanted.set()
            assert restart.seen.is_set(), "the first server ended in the middle"
    assert stream.completions[0].token_ids == expected.token_ids
