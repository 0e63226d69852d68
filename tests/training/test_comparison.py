"""The compared attentions against plain definitions, and the runner on a tiny corpus."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compare import recipe, report, run
from compare.attentions import KINDS, make_attention
from compare.attentions.nystrom import pseudo_inverse
from compare.measure import measure
from compare.recall import DISTANCES, NAMES, VALUES, answer_distances, recall
from fma_training.attention import FmaAttention
from fma_training.config import FmaConfig, FmaSettings
from fma_training.model import make_model
from fma_training.plan import SequencePlan, sequence_plan
from test_model import SMALL
from test_train import corpus

__all__ = ["corpus"]  # a fixture

DECODER = replace(SMALL, fma=FmaSettings(4, 2, 2, "average"))
ENCODER = replace(SMALL, fma=replace(DECODER.fma, causal=False), mask_token_id=3)
OPTIONS: dict[str, dict[str, Any]] = {
    "fixed": {"columns": 2},
    "bigbird": {"first_blocks": 1, "random_blocks": 2},
    "nystrom": {"landmarks": 5},
}
DECODERS = ["full", "window", "linear", "fixed", "bigbird"]
ENCODERS = ["full", "window", "linear", "nystrom"]


def layer(name: str, config: FmaConfig, length: int) -> tuple[FmaAttention, SequencePlan, list[torch.Tensor]]:
    """One attention, and random queries [1, H, N, d], keys and values [1, K, N, d]."""
    plan = sequence_plan(config, length, torch.device("cpu"))
    torch.manual_seed(length)
    heads = (config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads)
    made = [torch.randn(1, h, plan.blocks * config.fma.group_size, config.head_dim) for h in heads]
    return KINDS[name](config, 1, **OPTIONS.get(name, {})), plan, made


def turned(config: FmaConfig, x: np.ndarray) -> np.ndarray:
    """Vectors [n, d] rotated by their positions."""
    half = config.head_dim // 2
    angle = np.arange(len(x))[:, None] * config.rope_theta ** (-np.arange(half) / half)
    first, second = x[:, :half], x[:, half:]
    return np.hstack([first * np.cos(angle) - second * np.sin(angle), second * np.cos(angle) + first * np.sin(angle)])


def feature(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def seen(name: str, t: int, s: int, m: int, length: int, random: list[set[int]]) -> bool:
    """Whether query t sees token s."""
    own, other = t // m, s // m
    return {
        "full": True,
        "window": abs(own - other) <= 1,
        "fixed": other == own or (other < own and s % m >= m - 2),
        "bigbird": own - other in (0, 1) or other == 0 or (random != [] and other in random[own]),
    }[name]


def plain(name: str, config: FmaConfig, made: list[torch.Tensor], length: int, lists: list[set[int]]) -> np.ndarray:
    """[H, n, d], token by token."""
    shared = config.num_attention_heads // config.num_key_value_heads
    found = []
    for head in range(config.num_attention_heads):
        at = (head, head // shared, head // shared)
        q, k, v = (x[0, i, :length].double().numpy() for x, i in zip(made, at))
        causal = config.fma.causal
        if name == "linear":
            top, total = turned(config, feature(q)) @ turned(config, feature(k)).T, feature(q) @ feature(k).T
            if causal:
                top, total = np.tril(top), np.tril(total)
            found.append(top @ v / total.sum(1, keepdims=True))
            continue
        scores = turned(config, q) @ turned(config, k).T / config.head_dim**0.5
        for t in range(length):
            for s in range(length):
                if (causal and s > t) or not seen(name, t, s, config.fma.group_size, length, lists):
                    scores[t, s] = -np.inf
        found.append(softmax(scores) @ v)
    return np.stack(found)


@pytest.mark.parametrize("length", [24, 40])
@pytest.mark.parametrize("name", DECODERS)
def test_decoders_are_their_definitions(name: str, length: int) -> None:
    check(name, DECODER, length)


@pytest.mark.parametrize("length", [1, 23, 40])
@pytest.mark.parametrize("name", ["full", "window", "linear"])
def test_encoders_are_their_definitions(name: str, length: int) -> None:
    check(name, ENCODER, length)


def check(name: str, config: FmaConfig, length: int) -> None:
    attention, plan, made = layer(name, config, length)
    blocks_of: list[set[int]] = []
    if name == "bigbird":
        lists = attention.lists(plan.blocks, 4) // 4
        blocks_of = [set(row[row >= 0].tolist()) for row in lists]
        expected = [min(b + 1, 2 + (b > 1) + min(2, max(0, b - 2))) for b in range(plan.blocks)]
        assert [len(row) for row in blocks_of] == expected  # own, previous, first, and two drawn from the rest
    out = attention._tokens(attention.attend(*made, plan))[0, :length]
    expected_out = plain(name, config, made, length, blocks_of)
    found = out.unflatten(-1, (config.num_attention_heads, -1)).transpose(0, 1).detach().numpy()
    assert np.abs(found - expected_out).max() < 1e-5


@pytest.mark.parametrize("length", [1, 4, 23])
def test_nystrom_is_its_definition(length: int) -> None:
    attention, plan, (query, key, value) = layer("nystrom", replace(ENCODER, num_key_value_heads=4), length)
    out = attention._tokens(attention.attend(query, key, value, plan))[0, :length]
    count = min(5, length)
    edges = [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]
    for head in range(4):
        q, k, v = (x[0, head, :length].double().numpy() for x in (query, key, value))
        q, k = turned(ENCODER, q) / ENCODER.head_dim**0.5, turned(ENCODER, k)
        few_q, few_k = (np.stack([x[a:b].mean(0) for a, b in edges]) for x in (q, k))
        inverse = pseudo_inverse(torch.from_numpy(softmax(few_q @ few_k.T))).numpy()
        expected = softmax(q @ few_k.T) @ inverse @ softmax(few_q @ k.T) @ v
        assert np.abs(out.unflatten(-1, (4, -1))[:, head].detach().numpy() - expected).max() < 1e-4


def test_a_pseudo_inverse() -> None:
    matrix = torch.softmax(3 * torch.eye(6) + torch.rand(6, 6), -1)
    assert torch.allclose(pseudo_inverse(matrix), torch.linalg.pinv(matrix), atol=1e-3)


@pytest.mark.parametrize("name", [name for name in recipe.names() if name.startswith("decoder/")])
def test_what_comes_later_changes_nothing_earlier(name: str) -> None:
    torch.manual_seed(0)
    model = recipe.load(name).make_model(256).eval()
    tokens = torch.randint(0, 256, (1, 256))
    with torch.no_grad():
        before = model(tokens)
        for place in (100, 131, 255):
            changed = tokens.clone()
            changed[0, place] = (changed[0, place] + 1) % 256
            after = model(changed)
            assert torch.allclose(after[:, :place], before[:, :place], atol=1e-6)
            assert not torch.allclose(after[:, place], before[:, place], atol=1e-6)


def h_transformer(q: np.ndarray, k: np.ndarray, v: np.ndarray, block: int) -> np.ndarray:
    """H-Transformer-1D for one head: a sum over resolutions, each with tokens twice as coarse, of attention to the own
    and the previous block, less what a finer resolution has seen. Queries keep their own resolution."""
    length, width = len(q), 1
    total, weighted = np.zeros((length, 1)), np.zeros_like(v)
    covered = np.zeros((length, length), bool)
    while width * block <= length:
        size = width * block
        coarse = k[: length // width * width].reshape(-1, width, k.shape[1]).mean(1)
        sums = v[: length // width * width].reshape(-1, width, v.shape[1]).sum(1)
        for t in range(length):
            for c in range(len(coarse)):
                tokens = slice(c * width, (c + 1) * width)
                near = t // size - c * width // size in (0, 1)
                if near and tokens.stop <= t + 1 and not covered[t, tokens].any():
                    weight = np.exp(q[t] @ coarse[c])
                    total[t] += weight * width
                    weighted[t] += weight * sums[c]
                    covered[t, tokens] = True
        width *= 2
    return weighted / total


@pytest.mark.parametrize("length", [32, 64])
def test_h_transformer_is_fma_with_half_a_group_of_means(length: int) -> None:
    settings = FmaSettings(4, 2, 3, "average", scale_far_field=True)
    config = replace(DECODER, fma=settings, position_embedding="none", num_key_value_heads=4)
    plan = sequence_plan(config, length, torch.device("cpu"))
    attention = make_attention("fma", {})(config, 0, 3)
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 4, length, 4) for _ in range(3))
    out = attention._tokens(attention.attend(query, key, value, plan)).unflatten(-1, (4, -1))[0]
    for head in range(4):
        q, k, v = (x[0, head].double().numpy() for x in (query, key, value))
        expected = h_transformer(q * 4**-0.5, k, v, 4)
        assert np.abs(out[:, head].detach().numpy() - expected).max() < 1e-5


def test_rows_have_equally_many_parameters() -> None:
    for name in recipe.names():
        row = recipe.load(name)
        target = recipe.parameters(recipe.load(f"{name.split('/')[0]}/full").make_model(512))
        count = recipe.parameters(row.make_model(512))
        assert row.equal_parameters == (0.99 * target < count <= target), name
    with pytest.raises(ValueError, match="recipe is "):
        recipe.load("decoder/nothing")


def test_the_runner_trains_once_and_reports(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["decoder/full", "decoder/window", "encoder/fma_linear", "encoder/full"]
    words = ["train", "--corpus", str(corpus), "--out", str(tmp_path / "out"), "--rows", *rows, "--steps", "2"]
    run.main([*words, "--batch", "1", "--seeds", "0", "1"])
    files = sorted((tmp_path / "out" / "trained").iterdir())
    assert len(files) == 8
    first = json.loads(files[0].read_text("utf-8"))
    assert first["recipe"] == "decoder/full" and first["edges"][-1] == 512
    mean = np.mean(first["bits_by_position"])
    assert 0 < first["bits"] < 9 and abs(mean - first["bits"]) < 1
    times = [file.stat().st_mtime_ns for file in files]
    run.main([*words, "--batch", "1", "--seeds", "0", "1"])
    assert [file.stat().st_mtime_ns for file in files] == times
    recalling = ["recall", *words[1:6], "decoder/window", "--steps", "1", "--batch", "1", "--seeds", "0"]
    run.main(recalling)
    measured = {"recipe": "decoder/full", "length": 1024, "peak_bytes": 3 << 20, "seconds": 0.25, "steps": 1}
    (tmp_path / "out" / "measured").mkdir()
    (tmp_path / "out" / "measured" / "decoder-full-1024.json").write_text(json.dumps(measured))
    capsys.readouterr()
    report.main([str(tmp_path / "out")])
    printed = capsys.readouterr().out
    parts = ("| full attention | ", "| 3 |", "| 0.25 |", "window: the same near", "| 448 |")
    assert all(part in printed for part in parts)


def test_names_come_back_at_their_distances() -> None:
    windows = torch.from_numpy(np.random.default_rng(0).integers(32, 256, (6, 513)))
    questions = recall(windows, np.random.default_rng(1))
    assert questions.places is not None and questions.inputs.shape == (6, 512)
    distances = np.array(DISTANCES)[answer_distances(6)]
    assert questions.answers.shape == distances.shape
    for row, text, places, answers, far in zip(
        questions.inputs, windows, questions.places, questions.answers, distances
    ):
        assert torch.equal(row[places + 1], answers) and torch.equal(row[places + 1 - far], answers)
        assert (answers >= VALUES[0]).all()
        names = row[places]
        assert torch.equal(names, row[places - far]) and (names >= NAMES[0]).all() and (names < VALUES[0]).all()
        assert len(set(names.tolist())) == len(names)
        # No pair lies over another: whatever is none is the text as it was, but for bytes that could be names.
        pairs = {int(at) + byte for place, gap in zip(places, far) for at in (place, place - gap) for byte in (0, 1)}
        rest = [i for i in range(512) if i not in pairs]
        plain = torch.where(text >= NAMES[0], ord("?"), text)
        assert len(pairs) == 2 * 2 * len(far) and torch.equal(row[rest], plain[rest])


def test_a_step_is_measured_within_a_limit() -> None:
    row = recipe.load("decoder/full")
    short, long = (measure(row, length, limit_gib=64) for length in (128, 1024))
    # The weights alone of 4 heads and 2 layers take 32 MiB at 1,024 tokens.
    assert short["seconds"] > 0 and long["peak_bytes"] > short["peak_bytes"] + (32 << 20)
    assert measure(row, 16384, limit_gib=2) == {
        "recipe": row.name, "length": 16384, "too_large": True, "limit_gib": 2,
    }  # fmt: skip


def test_other_attention_keeps_the_model() -> None:
    model = make_model(DECODER, attention=make_attention("full", {}))
    assert model(torch.zeros(1, 9, dtype=torch.long)).shape == (1, 9, DECODER.vocab_size)
