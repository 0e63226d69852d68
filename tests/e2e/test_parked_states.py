"""Sessions that are kept in fewer bytes between turns than in the slots that they run in."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from programs import BIN, DEMO_MODEL, GOLDEN, run
from redis_server import redis
from service import Service

#: Opens units of its past, so that its sessions have archives, whose chunks keep the type of slots.
OPENING = GOLDEN / "select_open"
TURNS = 4


def fma(server: Service, *words: object) -> str:
    code, output, errors = server.run(*words)
    assert code == 0, errors + server.log()
    return output


def turn(server: Service, number: int) -> list[int]:
    """The tokens that one turn of the session `talk` adds."""
    ids = json.dumps([(7 * number + i) % 96 for i in range(20)])
    words = ("--session", "talk", "--seed", number, "-n", 8, "--temperature", 1, "--ignore-eos")
    events = [json.loads(line) for line in fma(server, "generate", "--json", "--token-ids", ids, *words).splitlines()]
    return [token for event in events if event["event"] == "delta" for token in event["token_ids"]]


def undisturbed(model: Path, *flags: object) -> list[list[int]]:
    with Service(*flags, model=model) as server:
        fma(server, "sessions", "create", "talk")
        return [turn(server, number) for number in range(TURNS)]


@pytest.mark.parametrize("model", [DEMO_MODEL, OPENING], ids=["demo", "opening"])
def test_a_conversation_goes_on_alike_in_a_store_in_a_blob_and_in_memory(model: Path, tmp_path: Path) -> None:
    expected = undisturbed(model, "--parked-dtype", "int8")
    blob = tmp_path / "talk.fma"
    with redis(tmp_path / "redis") as store:
        flags = ("--parked-dtype", "int8", "--session-store", store.url)
        with Service(*flags, model=model) as first, Service(*flags, model=model) as second:
            fma(first, "sessions", "create", "talk")
            for number in range(TURNS):
                assert turn((first, second)[number % 2], number) == expected[number]
                if number == TURNS - 2:
                    fma(second, "sessions", "export", "talk", blob)
    with Service("--parked-dtype", "int8", model=model) as server:
        fma(server, "sessions", "import", blob, "talk")
        assert turn(server, TURNS - 1) == expected[TURNS - 1]


def test_what_a_parked_session_takes(tmp_path: Path) -> None:
    for cache, parked, held in (("f32", "bf16", 1_277_952), ("f32", "int8", 825_600), ("bf16", "int8", 825_600)):
        with Service("--cache-dtype", cache, "--parked-dtype", parked, "--session-dir", tmp_path / parked) as server:
            model = json.loads(fma(server, "models", "--json"))
            assert model["parked_bytes"] == held < model["slot_bytes"]
            assert "parked session" in fma(server, "models")
            name = f"{cache}-{parked}"
            fma(server, "sessions", "create", name)
            fma(server, "generate", "--session", name, "-n", 4, "It was a dark")
            assert json.loads(fma(server, "sessions", "show", name, "--json"))["bytes"] == held
            (state,) = (tmp_path / parked).rglob(f"{name}.*.state")
            assert held < state.stat().st_size < held + 1000


def test_states_of_before_and_of_other_servers_go_on(tmp_path: Path) -> None:
    sessions = ("--session-dir", tmp_path / "sessions")
    blob = tmp_path / "talk.fma"
    with Service(*sessions) as server:
        fma(server, "sessions", "create", "talk")
        fma(server, "generate", "--session", "talk", "-n", 4, "It was a dark")
        fma(server, "sessions", "export", "talk", blob)
    for flags, held in (
        (("--parked-dtype", "int8"), 2_211_840 + 825_600),
        ((), 2 * 2_211_840 + 825_600),
    ):
        with Service(*flags, *sessions) as server:
            fma(server, "generate", "--session", "talk", "-n", 4, " and stormy")
            assert json.loads(fma(server, "sessions", "show", "talk", "--json"))["bytes"] == held
            fma(server, "sessions", "export", "talk", "--head-only", tmp_path / f"{held}.fma")
    small = tmp_path / f"{2_211_840 + 825_600}.fma"
    with Service("--cache-dtype", "bf16") as server:
        fma(server, "sessions", "import", small, "copy")
        fma(server, "generate", "--session", "copy", "-n", 4, " night")
        code, _, errors = server.run("sessions", "import", blob, "large")
        assert code != 0 and "type of a state is f32; allowed: bf16 or int8, as slots are bf16" in errors


def test_a_larger_type_than_that_of_slots_is_refused() -> None:
    words = (BIN / "fma-server", "--model", DEMO_MODEL, "--cache-dtype", "int8", "--parked-dtype", "bf16")
    refused = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 1
    assert 'parked dtype is "bf16"; allowed: as-is or int8, as slots are int8' in refused.stdout


def test_the_evaluator_parks_as_a_server_does(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("It was a dark and stormy night, and the rain fell in torrents. " * 20)
    words = ("--model", DEMO_MODEL, "--text", text, "--losses")

    def losses(name: str, *options: object) -> bytes:
        run(BIN / "fma-eval", *words, tmp_path / name, *options)
        return (tmp_path / name).read_bytes()

    plain = losses("plain.npy")
    assert losses("as-is.npy", "--park-every", 70) == plain
    parked = losses("int8.npy", "--park-every", 70, "--parked-dtype", "int8")
    assert parked != plain
    assert losses("again.npy", "--park-every", 70, "--parked-dtype", "int8", "--chunk", 7) == parked
