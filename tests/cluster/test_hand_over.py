"""Three real servers on one directory of sessions, behind a real Envoy, HAProxy or vllm-router: replicas are drained,
killed, removed and added while conversations run, and every conversation has exactly the tokens of an undisturbed one.
Run by scripts/balancers, which prints how long the longest pauses were."""

from __future__ import annotations

import asyncio
import functools
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from balancers import Balancer, Envoy, HAProxy, VllmRouter
from conversations import TOKENS, TURNS, Conversation, longest_pause
from doors import Door
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

    def __init__(self, folder: Path, door: Door) -> None:
        self._sessions = folder / "sessions"
        self._model = door.model(folder / "model")
        self._door = door
        self.all: list[Service] = []

    def start(self) -> Service:
        """A replica that holds few sessions in memory, and drains faster than turns end."""
        flags = ("--session-dir", self._sessions, "--session-memory", "64M", "--drain-seconds", 0.2)
        self.all.append(Service("--threads", 1, *flags, *self._door.flags, model=self._model))
        return self.all[-1]

    def close(self) -> None:
        for replica in self.all:
            replica.__exit__()


def make_trouble(fleet: Fleet, balancer: Balancer, progress: Progress) -> dict[str, float]:
    """What was done to the three replicas, and when."""
    times: dict[str, float] = {}
    first, second, third = fleet.all
    progress.wait(0.2)
    times["a drain of 0.2 s"] = time.monotonic()
    assert first.stop() == 0
    balancer.remove(first)
    balancer.add(fleet.start())

    progress.wait(0.45)
    times["`kill -9`"] = time.monotonic()
    second.signal(signal.SIGKILL)
    second.process.wait()
    balancer.remove(second)
    balancer.add(fleet.start())

    progress.wait(0.7)
    times["a removal from the list, then a drain"] = time.monotonic()
    balancer.remove(third)
    assert third.stop() == 0
    return times


def run_all(address: str, conversations: list[Conversation], arrived: Callable[[int], None]) -> None:
    async def together() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(len(conversations)))
        await asyncio.gather(*(conversation.run(address, arrived) for conversation in conversations))

    asyncio.run(together())


Kind = type[Envoy] | type[HAProxy] | type[VllmRouter]


def converse(door: Door, prefix: str) -> list[Conversation]:
    return [door.converse(f"{prefix}-{number}", number, 1000 * number) for number in range(CONVERSATIONS)]


@pytest.fixture(params=[Envoy, HAProxy, VllmRouter])
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def fleet(kind: Kind, tmp_path: Path) -> Iterator[Fleet]:
    running = Fleet(tmp_path, kind.door)
    yield running
    running.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Door], list[Conversation]]:
    """The same conversations with one server and nothing between."""

    @functools.cache
    def of(door: Door) -> list[Conversation]:
        running = Fleet(tmp_path_factory.mktemp("undisturbed"), door)
        conversations = converse(door, "undisturbed")
        try:
            run_all(door.address(running.start()), conversations, lambda _: None)
        finally:
            running.close()
        assert [conversation.repeated for conversation in conversations] == [[]] * CONVERSATIONS
        return conversations

    return of


def test_no_conversation_is_lost(
    kind: Kind,
    fleet: Fleet,
    undisturbed: Callable[[Door], list[Conversation]],
    table: dict[str, dict[str, str]],
    tmp_path: Path,
) -> None:
    expected = undisturbed(kind.door)
    balancer = kind(tmp_path, [fleet.start() for _ in range(3)])
    conversations = converse(kind.door, "disturbed")
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
    assert [c.answers for c in conversations] == [c.answers for c in expected]
    assert sum(bool(c.repeated) for c in conversations) > 0, "nobody noticed that a replica was killed"
    served = [len(re.findall(f"method={kind.door.calls} ", replica.log())) for replica in fleet.all]
    # The log of the one that was killed may lack its last lines.
    assert served[0] > 0 and served[2] > 0 and sum(served[3:]) > 0, f"a replica had nothing to do: {served}"
    column = f"{kind.__name__}, {CONVERSATIONS} conversations"
    table[column] = pauses(expected, conversations, times)
    report(column, conversations, served, table[column])


def test_a_session_stays_with_its_replica(kind: Kind, fleet: Fleet, tmp_path: Path) -> None:
    replicas = [fleet.start() for _ in range(3)]
    balancer = kind(tmp_path, replicas)
    turns = 3
    served: set[int] = set()

    def calls(replica: Service) -> int:
        return round(replica.sum(rf'fma_calls_total\{{.*"{kind.door.calls}".*\}}'))

    try:
        for number in range(12):
            before = [calls(replica) for replica in replicas]
            for _ in range(turns):
                kind.door.turn(balancer.address, f"story-{number}")
            # A call is counted when its end has been written.
            assert eventually(lambda: sum(map(calls, replicas)) == sum(before) + turns)  # noqa: B023
            more = [calls(replica) - old for replica, old in zip(replicas, before)]
            assert sorted(more) == [0, 0, turns]
            served.add(more.index(turns))
    finally:
        balancer.stop()
    assert len(served) > 1, "all sessions are on one replica"


def test_without_a_healthy_replica_calls_fail_soon(kind: Kind, fleet: Fleet, tmp_path: Path) -> None:
    replica = fleet.start()
    balancer = kind(tmp_path, [replica])
    try:
        kind.door.turn(balancer.address, "story")
        assert replica.stop() == 0
        with pytest.raises(kind.door.away):
            kind.door.turn(balancer.address, "story")
    finally:
        balancer.stop()


def longest(conversations: list[Conversation], begin: float, end: float) -> str:
    """Of all conversations in this time, in seconds until tokens came, and in brackets until tokens came that had not
    come before, where that is longer."""
    messages = max(longest_pause(conversation.messages, begin, end) for conversation in conversations)
    news = max(longest_pause(conversation.news, begin, end) for conversation in conversations)
    return f"{messages:.2f}" + (f" ({news:.2f})" if news > messages else "")


def pauses(expected: list[Conversation], conversations: list[Conversation], times: dict[str, float]) -> dict[str, str]:
    """By what had happened before them."""
    starts = [*times.values(), FOR_EVER]
    found = {
        "one server, no balancer, no trouble": longest(expected, 0, FOR_EVER),
        "before any trouble": longest(conversations, 0, starts[0]),
    }
    for trouble, begin, following in zip(times, starts, starts[1:]):
        found[f"within {AFTERMATH:.0f} s after {trouble}"] = longest(
            conversations, begin, min(following, begin + AFTERMATH)
        )
    return found


@pytest.fixture(scope="module")
def table() -> Iterator[dict[str, dict[str, str]]]:
    """The longest pauses by balancer, which are printed as docs/cluster.md has them."""
    columns: dict[str, dict[str, str]] = {}
    yield columns
    rows = next(iter(columns.values()), {})
    print()
    for cells in (
        ["", *columns],
        ["---"] * (1 + len(columns)),
        *([row, *(c[row] for c in columns.values())] for row in rows),
    ):
        print("| " + " | ".join(cells) + " |")


def report(name: str, conversations: list[Conversation], served: list[int], found: dict[str, str]) -> None:
    print(f"\n{name}: turns of each replica {served}")
    for row, cell in found.items():
        print(f"  longest pause, {row}: {cell}")
    reasons = [reason for c in conversations for reason in c.repeated]
    print(f"  calls that were made again: {len(reasons)}")
    for reason in sorted(set(reasons)):
        print(f"    {reasons.count(reason)} times {reason[:160]}")
