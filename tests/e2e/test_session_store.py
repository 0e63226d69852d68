"""Servers that share their sessions in a real redis-server, with and without TLS."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from certificates import Authority
from programs import BIN, GOLDEN
from redis_server import redis
from service import Service, eventually

#: Opens units of its past, so that its sessions have archives too.
MODEL = GOLDEN / "select_open"
TURNS = 6


def fma(server: Service, *words: object) -> str:
    code, output, errors = server.run(*words)
    assert code == 0, errors + server.log()
    return output


def turn(server: Service, number: int, session: str = "talk") -> list[int]:
    """The tokens that one turn of the session adds."""
    ids = json.dumps([(7 * number + i) % 96 for i in range(20)])
    words = ("--session", session, "--seed", number, "-n", 8, "--temperature", 1, "--ignore-eos")
    events = [json.loads(line) for line in fma(server, "generate", "--json", "--token-ids", ids, *words).splitlines()]
    return [token for event in events if event["event"] == "delta" for token in event["token_ids"]]


def is_durable(server: Service) -> bool:
    return bool(json.loads(fma(server, "sessions", "show", "talk", "--json"))["durable"])


@pytest.fixture(scope="module")
def undisturbed() -> list[list[int]]:
    with Service(model=MODEL) as server:
        fma(server, "sessions", "create", "talk")
        return [turn(server, number) for number in range(TURNS)]


def test_a_conversation_goes_on_anywhere(undisturbed: list[list[int]], tmp_path: Path) -> None:
    with redis(tmp_path / "redis") as store:
        flags = ("--session-store", store.url)
        with Service(*flags, model=MODEL) as first, Service(*flags, model=MODEL) as second:
            fma(first, "sessions", "create", "talk")
            for number in range(TURNS - 2):
                assert turn((first, second)[number % 2], number) == undisturbed[number]
                assert is_durable(first) and is_durable(second)
            first.signal(signal.SIGKILL)
            first.process.wait()
            assert turn(second, TURNS - 2) == undisturbed[TURNS - 2]
            assert second.sum("fma_session_store_up") == 1
            assert second.sum("fma_session_store_failures_total") == 0
            assert second.stop() == 0
        with Service(*flags, model=MODEL) as third:
            assert turn(third, TURNS - 1) == undisturbed[TURNS - 1]
            fma(third, "sessions", "delete", "talk")


def test_a_store_that_is_away_costs_durability_only(undisturbed: list[list[int]], tmp_path: Path) -> None:
    with redis(tmp_path / "redis") as store:
        flags = ("--session-store", store.url)
        with Service(*flags, model=MODEL) as server:
            fma(server, "sessions", "create", "talk")
            assert turn(server, 0) == undisturbed[0]
            store.kill()
            assert turn(server, 1) == undisturbed[1]
            assert not is_durable(server)
            assert server.sum("fma_session_store_up") == 0
            with Service(*flags, model=MODEL) as other:  # which starts all the same
                assert store.url in other.log()
                code, _, errors = other.run("sessions", "show", "talk")
                assert code != 0 and store.url in errors
                store.start()
                assert turn(server, 2) == undisturbed[2]
                assert is_durable(server)
                assert turn(other, 3) == undisturbed[3]


def test_a_store_that_hangs_does_not_stop_turns(undisturbed: list[list[int]], tmp_path: Path) -> None:
    with (
        redis(tmp_path / "redis") as store,
        Service("--session-store", store.url, "--session-store-timeout", 0.5, model=MODEL) as server,
    ):
        fma(server, "sessions", "create", "talk")
        store.process.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        for number in range(TURNS - 1):
            assert turn(server, number) == undisturbed[number]
        assert time.monotonic() - start < 60
        assert not is_durable(server)
        store.process.send_signal(signal.SIGCONT)

        def is_saved() -> bool:
            return server.run("sessions", "update", "talk", "--ttl", 1000)[0] == 0 and is_durable(server)

        assert eventually(is_saved)
        assert turn(server, TURNS - 1) == undisturbed[TURNS - 1]


def test_durable_may_mean_that_replicas_have_it(undisturbed: list[list[int]], tmp_path: Path) -> None:
    with (
        redis(tmp_path / "redis", "--repl-diskless-sync-delay", 0) as store,
        Service("--session-store", store.url, "--session-store-replicas", 1, model=MODEL) as server,
    ):
        fma(server, "sessions", "create", "talk")
        assert turn(server, 0) == undisturbed[0]
        assert not is_durable(server)
        with redis(tmp_path / "replica", "--replicaof", "127.0.0.1", store.port):

            def is_saved() -> bool:
                return server.run("sessions", "update", "talk", "--ttl", 1000)[0] == 0 and is_durable(server)

            assert eventually(is_saved)
            assert turn(server, 1) == undisturbed[1] and is_durable(server)
        assert turn(server, 2) == undisturbed[2] and not is_durable(server)


def test_tls_and_logins(undisturbed: list[list[int]], tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca")
    pair = authority.issue("redis")
    mine = authority.issue("fma")
    login = tmp_path / "login"
    login.write_text("fma hush\n")
    words = ("--tls-cert-file", pair.cert, "--tls-key-file", pair.key, "--tls-ca-cert-file", authority.cert)
    words += ("--user", "fma", "on", ">hush", "~*", "+@all", "--user", "default", "off")
    with redis(tmp_path / "redis", *words, tls=True) as store:
        flags = ["--session-store", store.url, "--session-store-ca", authority.cert, "--session-store-login", login]
        flags += ["--session-store-cert", mine.cert, "--session-store-key", mine.key]
        with Service(*flags, model=MODEL) as server:
            fma(server, "sessions", "create", "talk")
            assert turn(server, 0) == undisturbed[0] and is_durable(server)
        login.write_text("fma wrong\n")
        with Service(*flags, model=MODEL) as server:
            assert "it refuses the login" in server.log() and "WRONGPASS" in server.log()
            assert "wrong" not in server.log() and "hush" not in server.log()
        login.write_text("fma hush\n")
        other = Authority.create(tmp_path / "other")
        flags[3] = other.cert
        with Service(*flags, model=MODEL) as server:
            assert "certificate verify failed" in server.log()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--session-store", "http://x:1"), "redis://HOST:PORT"),
        (("--session-store", "redis://me:hush@x:1"), "the login belongs into a file"),
        (("--session-store", "redis://127.0.0.1:1", "--session-dir", "x"), "none beside a session-dir"),
        (("--session-store", "redis://127.0.0.1:1", "--session-store-ca", "x"), "rediss:// with certificates"),
        (("--session-store", "rediss://127.0.0.1:1", "--session-store-ca", "no.pem"), "no.pem"),
        (("--session-store", "redis://127.0.0.1:1", "--session-store-login", "no.txt"), "no.txt"),
    ],
)
def test_wrong_flags_are_refused(flags: tuple[str, ...], words: str) -> None:
    command = [str(BIN / "fma-server"), "--model", str(MODEL), "--listen", "127.0.0.1:0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert words in done.stdout + done.stderr and "hush" not in done.stdout + done.stderr
