"""What a session costs, and the shape that fits a cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fma_convert.decoder import Decoder
from fma_convert.far_field import CACHE_TYPES, FarField, Wishes, choose, full_cache_bytes
from fma_convert.refusal import Refused
from fma_convert.rope import RopeScaling

SMOLLM2 = Decoder(
    architecture="LlamaForCausalLM", vocab_size=49152, hidden_size=576, intermediate_size=1536, num_layers=30,
    num_heads=9, num_kv_heads=3, head_dim=64, max_length=8192, norm_eps=1e-5, rope_theta=1e5, scaling=RopeScaling(),
    tied=True,
)  # fmt: skip


def test_what_is_chosen_when_nothing_is_said() -> None:
    assert choose(Wishes(), SMOLLM2) == FarField(256, 128, 11, 4, None, 6144, 16, 32)
    short = replace(SMOLLM2, max_length=512)
    assert choose(Wishes(), short) == FarField(128, 64, 12, 4, None, 512, 16, 32)


def test_costs() -> None:
    far = FarField(near=64, rank=32, levels=7, sinks=4, novel=None, max_distance=0, open_units=16, open_size=32)
    assert far.entries == 128 + 4 + 2 * 32 * 7 and far.horizon == 16384
    vectors = 30 * 3 * 2 * 64 * far.entries
    marks = 30 * 3 * (128 * 8 + 2 * 32 * 7 * 20)
    halves, integers = CACHE_TYPES["bf16"], CACHE_TYPES["int8"]
    assert far.session_bytes(SMOLLM2, halves) == 2 * vectors + marks
    assert far.session_bytes(SMOLLM2, integers) == vectors + vectors // 64 * 2 + marks
    assert full_cache_bytes(SMOLLM2, 8192, halves) == 180 << 20
    # 256 bytes of keys and values and 26 of sketches for each token, layer and KV head; all but the last two groups.
    assert far.archive_bytes(SMOLLM2, 32768 + 5, halves) == (32768 - 64) * 30 * 3 * (256 + 26)
    assert far.archive_bytes(SMOLLM2, 32768 + 5, integers) == (32768 - 64) * 30 * 3 * (132 + 26)
    assert far.archive_bytes(SMOLLM2, 100, halves) == 0
    in_place = replace(far, max_distance=3072).session_bytes(SMOLLM2, halves) - far.session_bytes(SMOLLM2, halves)
    assert in_place == 46 * 64 * 30 * 3 * 26
    assert replace(far, open_units=0).archive_bytes(SMOLLM2, 32768, halves) == 0


@pytest.mark.parametrize("tokens", [1, 1023, 1024, 1025, 8192, 100_000, 1 << 20, 1 << 33])
def test_the_fewest_levels_that_reach(tokens: int) -> None:
    far = choose(Wishes(max_tokens=tokens), SMOLLM2)
    assert far.horizon >= tokens
    assert far.levels == 1 or far.horizon // 2 < tokens


@pytest.mark.parametrize("megabytes", [44, 48, 64, 100, 150, 700, 5000])
@pytest.mark.parametrize("cache", ["f32", "bf16", "int8"])
def test_a_budget_is_kept_and_used(megabytes: int, cache: str) -> None:
    far = choose(Wishes(session_memory=megabytes << 20, cache=cache), SMOLLM2)
    kind = CACHE_TYPES[cache]
    assert far.session_bytes(SMOLLM2, kind) <= megabytes << 20
    assert far.near % 32 == 0 and far.near <= 2048 and far.max_distance >= 4 * far.near
    if far.near < 2048:
        larger = choose(Wishes(near=far.near + 32), SMOLLM2)
        assert far.rank == far.near // 2 and larger.session_bytes(SMOLLM2, kind) > megabytes << 20
    elif far.rank < 2044:
        assert replace(far, rank=far.rank + 1).session_bytes(SMOLLM2, kind) > megabytes << 20


def test_distances_stay_within_what_was_trained() -> None:
    assert choose(Wishes(near=1024), SMOLLM2).max_distance == 6144
    assert choose(Wishes(near=2048), SMOLLM2).max_distance == 8192  # not 6,144: four near groups
    assert choose(Wishes(near=4096, max_distance=0), SMOLLM2).max_distance == 0
    assert choose(Wishes(max_distance=20000), SMOLLM2).max_distance == 20000
    window = replace(SMOLLM2, window=4096)
    assert choose(Wishes(), window).max_distance == 3072
    assert choose(Wishes(near=1024), window).max_distance == 4096


@pytest.mark.parametrize(("trained", "distance"), [(8192, 6144), (16384, 8192), (32768, 12288), (131072, 49152)])
def test_three_quarters_of_a_short_length_and_three_eighths_of_a_long_one(trained: int, distance: int) -> None:
    assert choose(Wishes(), replace(SMOLLM2, max_length=trained)).max_distance == distance


@pytest.mark.parametrize(
    "wishes, message",
    [
        (Wishes(near=2049), r"--near is 2049; allowed: 5 to 2048, a quarter of the greatest distance \(8192\)"),
        (Wishes(near=300, max_distance=1024), r"--near is 300; allowed: 5 to 256, a quarter .*1024"),
        (Wishes(near=4), "--near is 4; allowed: 5 to 2048"),
        (Wishes(near=0), "--near is 0"),
        (Wishes(near=5000, max_distance=0), "--near is 5000; allowed: 5 to 4096"),
        (Wishes(rank=253), "--rank is 253; allowed: 1 to 252"),
        (Wishes(rank=0), "--rank is 0"),
        (Wishes(sinks=2048), "--sinks is 2048; allowed: 0 to 2047"),
        (Wishes(novel=129), "--novel is 129; allowed: 0 to 128"),
        (Wishes(open_units=1 << 17), "--open-units is 131072; allowed: 0"),
        (Wishes(open_size=96), "--open-size is 96; allowed: a divisor of the near field, 256"),
        (Wishes(near=8, rank=2, max_tokens=1 << 45), "--max-tokens"),
        (Wishes(session_memory=1 << 20), r"--session-memory is 1048576; allowed: at least \d+ bytes"),
    ],
)
def test_refused(wishes: Wishes, message: str) -> None:
    with pytest.raises(Refused, match=message):
        choose(wishes, SMOLLM2)


def test_units_divide_the_near_field() -> None:
    assert choose(Wishes(near=20), SMOLLM2).open_size == 20
    assert choose(Wishes(near=48), SMOLLM2).open_size == 24
    assert choose(Wishes(near=37), SMOLLM2).open_size == 1
    assert choose(Wishes(open_size=64), SMOLLM2).open_size == 64


def test_rank_leaves_room_for_sinks() -> None:
    assert choose(Wishes(near=6), SMOLLM2).rank == 2
    assert choose(Wishes(near=1, sinks=0), SMOLLM2).rank == 1
