"""A model that opens units of its past: what its archives cost, and what is said of them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from programs import BIN, GOLDEN
from service import Service

OPENING = GOLDEN / "select_open"
GROUP_TOKENS = 8
#: 2 layers and 2 KV heads of 8 tokens and 2 units: keys and values of 8 float32; of each unit mean, deviation, 4
#: factors and the codes of 4 tokens, 2 bytes each.
GROUP_BYTES = 2 * 2 * (8 * 2 * 8 * 4 + 2 * (2 * 8 * 4 + 4 * 4 + 4 * 2))


def fma(server: Service, *words: object, token: str = "") -> subprocess.CompletedProcess[str]:
    command = [BIN / "fma", *words, "--server", server.address]
    environment = {**os.environ, "FMA_TOKEN": token}
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, env=environment)


def generate(server: Service, tokens: int, *words: object, token: str = "") -> subprocess.CompletedProcess[str]:
    """Four tokens after a prompt of so many."""
    ids = json.dumps([i % 96 for i in range(tokens)])
    return fma(server, "generate", "--json", "--token-ids", ids, "-n", 4, "--ignore-eos", *words, token=token)


def archived(done: subprocess.CompletedProcess[str]) -> int:
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout.splitlines()[-1])["usage"]["archived_tokens"])


def tokens_of(done: subprocess.CompletedProcess[str]) -> list[int]:
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return [token for event in events if event["event"] == "delta" for token in event["token_ids"]]


def groups(tokens: int) -> int:
    """All fine groups but that of the next token and the one before."""
    return max(0, tokens // GROUP_TOKENS - 1)


def test_both_costs_are_shown() -> None:
    with Service("--archive-bytes", "1M", model=OPENING) as server:
        shown = json.loads(fma(server, "models", "--json").stdout)
        assert shown["archive_bytes_per_1000_tokens"] == GROUP_BYTES * 1000 // GROUP_TOKENS
        assert shown["open_units"] == 3
        assert shown["archive_budget_bytes"] == 1 << 20
        assert shown["archive_used_bytes"] == 0
        text = fma(server, "models").stdout
        assert "archive           335.9 KiB per 1,000 tokens besides, of which each query opens 3 units\n" in text
        assert "archives          0 B of 1.0 MiB\n" in text
        assert "archives: 0.33 MiB for each 1000 tokens of a sequence, 1.00 MiB at most, in memory" in server.log()


def test_an_archive_of_integers_costs_less_and_keeps_its_sessions_apart(tmp_path: Path) -> None:
    #: keys and values of 8 int8 and a scale of 2 bytes; sketches as ever
    small = GROUP_BYTES - 2 * 2 * 8 * 2 * (8 * 4 - (8 + 2))
    flags = ("--archive-dtype", "int8", "--session-dir", tmp_path, "--archive-dir", tmp_path / "archives")
    with Service(*flags, model=OPENING) as server:
        shown = json.loads(fma(server, "models", "--json").stdout)
        assert shown["archive_bytes_per_1000_tokens"] == small * 1000 // GROUP_TOKENS
        fma(server, "sessions", "create", "talk")
        archived(generate(server, 100, "--session", "talk", "--seed", 1))
        assert server.stop() == 0
    (volume,) = tmp_path.rglob("*.chunks")
    assert groups(103) * small < volume.stat().st_size < groups(103) * GROUP_BYTES
    with Service("--session-dir", tmp_path, model=OPENING) as server:
        assert generate(server, 50, "--session", "talk").returncode != 0
    with Service(*flags, model=OPENING) as server:
        assert archived(generate(server, 50, "--session", "talk")) == groups(157) * GROUP_TOKENS


def test_an_archive_that_does_not_fit_is_refused_with_the_numbers() -> None:
    with Service("--archive-bytes", 10 * GROUP_BYTES, "--prefix-cache-memory", 0, model=OPENING) as server:
        fits = 11 * GROUP_TOKENS + GROUP_TOKENS - 1 - 3
        assert archived(generate(server, fits)) == groups(fits + 3) * GROUP_TOKENS == 80
        refused = generate(server, fits + 1)
        assert refused.returncode != 0
        assert (
            f"archive is {11 * GROUP_BYTES} bytes more for 88 tokens; allowed: the {10 * GROUP_BYTES} bytes that are "
            f"free of {10 * GROUP_BYTES}; a smaller max_tokens" in refused.stderr
        )
        assert archived(generate(server, fits + 1, "--no-archive")) == 0
        name = 'model_name="select_open"'
        assert server.scrape()[f'fma_requests_rejected_total{{{name},reason="archive_full"}}'] == 1
        assert server.scrape()[f"fma_archive_budget_bytes{{{name}}}"] == 10 * GROUP_BYTES
        assert server.scrape()[f"fma_archive_bytes{{{name}}}"] == 0


@pytest.mark.parametrize("flags", [("--no-archive",), ("--archive-bytes", 0)])
def test_a_server_may_keep_none(flags: tuple[object, ...]) -> None:
    with Service(*flags, model=OPENING) as server:
        assert archived(generate(server, 200)) == 0
        assert json.loads(fma(server, "models", "--json").stdout)["open_units"] == 0
        assert "archive" not in fma(server, "models").stdout


def test_tokens_may_lie_in_a_folder(tmp_path: Path) -> None:
    with Service("--archive-dir", tmp_path / "archives", model=OPENING) as server:
        in_memory = generate(server, 300, "--seed", 1)
        assert archived(in_memory) == groups(303) * GROUP_TOKENS
        assert list((tmp_path / "archives").iterdir()) == [], "its file has no name"
        assert server.stop() == 0


def test_a_session_keeps_its_archive_over_a_restart(tmp_path: Path) -> None:
    answers = []
    for flags in ((), ("--session-dir", tmp_path)):
        with Service(*flags, model=OPENING) as server:
            fma(server, "sessions", "create", "talk")
            archived(generate(server, 100, "--session", "talk", "--seed", 1))
            if not flags:
                answers.append(tokens_of(generate(server, 50, "--session", "talk", "--seed", 2)))
            assert server.stop() == 0
    (volume,) = tmp_path.rglob("*.chunks")
    assert volume.stat().st_size > groups(103) * GROUP_BYTES
    with Service("--session-dir", tmp_path, model=OPENING) as server:
        done = generate(server, 50, "--session", "talk", "--seed", 2)
        assert archived(done) == groups(157) * GROUP_TOKENS
        answers.append(tokens_of(done))
    assert answers[0] == answers[1]


def test_a_tenant_may_have_a_limit(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    digest = hashlib.sha256(b"a").hexdigest()
    tokens.write_text(f"alice {digest} archive-bytes={5 * GROUP_BYTES}\n")
    with Service("--tokens", tokens, model=OPENING) as server:
        assert archived(generate(server, 50, token="a")) == 40
        refused = generate(server, 60, token="a")
        assert f'tenant "alice": archive is {6 * GROUP_BYTES} bytes more' in refused.stderr


def test_a_budget_for_less_than_one_group_is_refused_at_start() -> None:
    command = [str(BIN / "fma-server"), "--model", str(OPENING), "--archive-bytes", "100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"archive bytes is 100; allowed: 0, or {GROUP_BYTES} or more" in done.stdout + done.stderr
