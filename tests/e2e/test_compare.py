"""bench/compare without llama.cpp: streams of a real server, and what tables, JSON and figure make of numbers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import DEMO_MODEL, ROOT

sys.path.insert(0, str(ROOT / "bench" / "compare"))

from peers import Peer, fma_server
from report import OURS, THEIRS, Alone, Comparison, Together, draw, from_json, medians, tables, to_json
from streams import ManyStreams, OneStream, many_streams, one_stream, stream


def found() -> Comparison:
    slow, fast = OneStream(200.0, 100.0, 20.0, 10.0), OneStream(600.0, 300.0, 60.0, 30.0)
    rounds = {OURS: [slow, fast, fast], THEIRS: [slow, slow, fast]}
    alone = Alone("q4_0", 4096, rounds, {OURS: 2 << 20, THEIRS: 90 << 20})
    together = Together("bf16", 8, {OURS: [ManyStreams(80, 70, 5, 9)], THEIRS: [ManyStreams(40, 140, 50, 200)]})
    beyond = Alone("bf16", 32768, {OURS: [fast], THEIRS: []}, {OURS: 2 << 20, THEIRS: 720 << 20})
    return Comparison({"processor": "one of them"}, [alone, beyond], [together])


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with fma_server(DEMO_MODEL, 1, 3, "f32") as server:
        yield server


def test_a_stream_has_its_tokens_and_times(peer: Peer) -> None:
    done = stream(peer, range(100, 140), 20)
    assert done.tokens == 20
    assert 1 < len(done.arrivals) <= 21, "one for each token at most, and the one that says why it ended"
    assert done.tokens_between(0, done.last.clock) == 20
    assert done.asked.clock < done.first.clock < done.last.clock
    assert done.asked.processor <= done.first.processor <= done.last.processor
    one = one_stream(peer, range(100, 140), 20)
    assert min(one.prefill, one.prefill_processor, one.decode, one.decode_processor) > 0


def test_streams_run_together(peer: Peer) -> None:
    many = many_streams(peer, [range(start, start + 8) for start in (100, 200, 300)], 40)
    assert 0 < many.median_gap <= many.worst_gap
    assert many.tokens > 0 and many.tokens_processor > 0


def test_a_refusal_says_whose_it_is(peer: Peer) -> None:
    with pytest.raises(RuntimeError, match="fma-server: HTTP 400"):
        stream(peer, [1 << 30], 1)


def test_tables_have_medians_and_ratios() -> None:
    assert medians(found().alone[0].rounds[OURS])["decode"] == 60
    lines = tables(found()).splitlines()
    assert "| Q4_0 | 4,096 | 60.0 | 20.0 | 3.00 | 30.0 | 10.0 | 3.00 | 2.0 MiB | 90.0 MiB |" in lines
    assert "| Q4_0 | 4,096 | 600.0 | 200.0 | 3.00 | 300.0 | 100.0 | 3.00 |" in lines
    assert "| bfloat16 | 32,768 | 60.0 | – | – | 30.0 | – | – | 2.0 MiB | 720.0 MiB |" in lines
    assert "| bfloat16 | 8 | 80.0 | 40.0 | 2.00 | 70.0 | 140.0 | 0.50 | 5 (9) | 50 (200) |" in lines
    widths = [line.count("|") for line in lines if line]
    assert widths == [widths[0]] * 4 + [widths[4]] * 4 + [widths[8]] * 3


def test_json_keeps_everything() -> None:
    assert from_json(to_json(found())) == found()


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw(found(), tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
