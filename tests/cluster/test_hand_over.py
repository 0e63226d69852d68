"""Three real servers on one directory of sessions, behind a real Envoy and a real HAProxy: replicas are drained,
killed, removed and added while conversations run, and every conversation has exactly the tokens of an undisturbed one.
Run by scripts/balancers, which prints how long the longest pauses were."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from balancers import Balancer, Envoy, HAProxy
from conversations import TOKENS, TURNS, Conversation, longest_pause, make_conversations
from fma_client import NO_RETRY, Client, UnavailableError
from service import Service, eventually

CONVERSATIONS = int(os.environ.get("FMA_CONVERSATIONS", "50"))
#: How many seconds after a fault a pause is put down to it.
AFTERMATH = 5.0
FOR_EVER = float("inf")

pytestmark = pytest.mark.timeout(1200)


class Progress:
    """How many tokens all conversations have; faults wait for it, so that none comes too early or too late."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tokens = 0
        self._ended = False

    def arrived(self, tokens: int) -> None:
        with self._changed:
            self._tokens += tokens
            self._changed.notify_all()

    def wait(self, part: float) -> None:
        goal = part * CONVERSATIONS * len(TURNS) * TOKENS
        with self._changed:
            self._changed.wait_for(lambda: self._tokens >= goal or self._ended, timeout=900)
            assert self._tokens >= goal

    def end(self) -> None:
        """No more tokens will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Fleet:
    """Replicas on one directory of sessions, as long as the test lasts."""

    def __init__(self, sessions: Path) -> None:
        self._sessions = sessions
        self.all: list[Service] = []

    def start(self) -> Service:
        """A replica that holds few sessions in memory, and drains faster than turns end."""
        flags = ("--session-dir", self._sessions, "--session-memory", "64M", "--drain-seconds", 0.2)
        self.all.append(Service("--threads", 1, *flags))
        return self.all[-1]

    def close(self) -> None:
        for replica in self.all:
            replica.__exit__()


def make_trouble(fleet: Fleet, balancer: Balancer, progress: Progress) -> dict[str, float]:
    """What was done to the three replicas, and when."""
    times: dict[str, float] = {}
    first, second, third = fleet.all
    progress.wait(0.2)
    times["drain"] = time.monotonic()
    assert first.stop() == 0
    balancer.remove(first)
    balancer.add(fleet.start())

    progress.wait(0.45)
    times["kill -9"] = time.monotonic()
    second.signal(signal.SIGKILL)
    second.process.wait()
    balancer.remove(second)
    balancer.add(fleet.start())

    progress.wait(0.7)
    times["remove"] = time.monotonic()
    balancer.remove(third)
    assert third.stop() == 0
    return times


def run_all(address: str, conversations: list[Conversation], arrived: Callable[[int], None]) -> None:
    async def together() -> None:
        await asyncio.gather(*(conversation.run(address, arrived) for conversation in conversations))

    asyncio.run(together())


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    running = Fleet(tmp_path / "sessions")
    yield running
    running.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Conversation]:
    """The same conversations with one server and nothing between."""
    running = Fleet(tmp_path_factory.mktemp("undisturbed") / "sessions")
    conversations = make_conversations("undisturbed", CONVERSATIONS)
    try:
        run_all(running.start().address, conversations, lambda _: None)
    finally:
        running.close()
    assert [conversation.repeated for conversation in conversations] == [[]] * CONVERSATIONS
    return conversations


@pytest.mark.parametrize("kind", [Envoy, HAProxy])
def test_no_conversation_is_lost(
    kind: Callable[[Path, list[Service]], Balancer], fleet: Fleet, undisturbed: list[Conversation], tmp_path: Path
) -> None:
    balancer = kind(tmp_path, [fleet.start() for _ in range(3)])
    conversations = make_conversations("disturbed", CONVERSATIONS)
    progress = Progress()
    with ThreadPoolExecutor(1) as beside:
        trouble = beside.submit(make_trouble, fleet, balancer, progress)
        try:
            run_all(balancer.address, conversations, progress.arrived)
        finally:
            progress.end()
            wait([trouble])
            balancer.stop()
    times = trouble.result()
    assert [c.answers for c in conversations] == [c.answers for c in undisturbed]
    assert sum(bool(c.repeated) for c in conversations) > 0, "nobody noticed that a replica was killed"
    served = [replica.log().count("method=Generate") for replica in fleet.all]
    # The log of the one that was killed may lack its last lines.
    assert served[0] > 0 and served[2] > 0 and sum(served[3:]) > 0, f"a replica had nothing to do: {served}"
    report(kind, undisturbed, conversations, times, served)


def generate_calls(replica: Service) -> int:
    return round(replica.sum(r'fma_calls_total\{.*"Generate".*\}'))


@pytest.mark.parametrize("kind", [Envoy, HAProxy])
def test_a_session_stays_with_its_replica(
    kind: Callable[[Path, list[Service]], Balancer], fleet: Fleet, tmp_path: Path
) -> None:
    replicas = [fleet.start() for _ in range(3)]
    balancer = kind(tmp_path, replicas)
    turns = 3
    served: set[int] = set()
    try:
        with Client(balancer.address) as client:
            for number in range(12):
                before = [generate_calls(replica) for replica in replicas]
                session = client.create_session(f"story-{number}")
                for _ in range(turns):
                    session.generate("It was", max_tokens=1).read()
                # A call is counted when its end has been written.
                assert eventually(lambda: sum(map(generate_calls, replicas)) == sum(before) + turns)  # noqa: B023
                more = [generate_calls(replica) - old for replica, old in zip(replicas, before)]
                assert sorted(more) == [0, 0, turns]
                served.add(more.index(turns))
    finally:
        balancer.stop()
    assert len(served) > 1, "all sessions are on one replica"


@pytest.mark.parametrize("kind", [Envoy, HAProxy])
def test_without_a_healthy_replica_calls_fail_at_once(
    kind: Callable[[Path, list[Service]], Balancer], fleet: Fleet, tmp_path: Path
) -> None:
    replica = fleet.start()
    balancer = kind(tmp_path, [replica])
    try:
        with Client(balancer.address, retry=NO_RETRY) as client:
            assert client.generate("It was", max_tokens=1).read()
            assert replica.stop() == 0
            with pytest.raises(UnavailableError):
                client.generate("It was", max_tokens=1, timeout=60).read()
    finally:
        balancer.stop()


def longest(conversations: list[Conversation], begin: float, end: float) -> str:
    """Of all conversations in this time, until tokens came, and until tokens came that had not come before."""
    messages = max(longest_pause(conversation.messages, begin, end) for conversation in conversations)
    news = max(longest_pause(conversation.news, begin, end) for conversation in conversations)
    return f"{messages:.2f} s; until something new {news:.2f} s"


def report(
    kind: object, undisturbed: list[Conversation], conversations: list[Conversation], times: dict[str, float],
    served: list[int],
) -> None:  # fmt: skip
    name = getattr(kind, "__name__", "")
    print(f"\n{name}: {CONVERSATIONS} conversations, turns of each replica {served}")
    print(f"  longest pause with one server and no balancer: {longest(undisturbed, 0, FOR_EVER)}")
    starts = [*times.values(), FOR_EVER]
    print(f"  longest pause before any trouble: {longest(conversations, 0, starts[0])}")
    for trouble, begin, following in zip(times, starts, starts[1:]):
        pause = longest(conversations, begin, min(following, begin + AFTERMATH))
        print(f"  longest pause in the {AFTERMATH:.0f} s after {trouble}: {pause}")
    reasons = [reason for c in conversations for reason in c.repeated]
    print(f"  calls that were made again: {len(reasons)}")
    for reason in sorted(set(reasons)):
        print(f"    {reasons.count(reason)} times {reason[:160]}")
