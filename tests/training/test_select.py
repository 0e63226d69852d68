"""Selected tokens and opened units: golden logits and choices, and the definition token by token."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import GOLDEN
from fma_training.checkpoint import load_model
from fma_training.config import FmaConfig, FmaSettings
from fma_training.evaluate import greedy
from fma_training.model import FmaModel
from fma_training.opened import choose_units, sketches
from fma_training.select_attention import Choices, SelectAttention
from fma_training.selection import novelty
from random_configs import random_selector
from reference_select import SelectReference
from test_model import SMALL, numpy_tensors, random_model

SELECT = replace(SMALL, vocab_size=128, fma=FmaSettings(8, 3, 3, "select", sink_tokens=2))
SMALL_MARGIN = 1e-5  # of a choice that rounding could change
VARIANTS: list[tuple[int, dict[str, Any], dict[str, Any]]] = [
    # tokens, changes of the model, changes of fma
    (100, {}, {}),
    (99, {"num_key_value_heads": 4}, {"far_positions": "none", "level_bias": True, "select_lag": 0}),
    (97, {"num_key_value_heads": 1}, {"select_novel": 3, "select_lag": 15, "sink_tokens": 0, "rank": 5}),
    (103, {}, {"select_novel": 0, "max_distance": 32, "level_bias": True, "sink_tokens": 5}),
    (96, {}, {"rank": 8, "sink_tokens": 0, "num_levels": 1}),
    (90, {"position_embedding": "none"}, {}),
    (96, {"position_embedding": "learned", "norm": "layernorm", "attention_bias": True}, {"num_levels": 4}),
    (7, {}, {}),
    (60, {}, {"group_size": 2, "rank": 1, "sink_tokens": 1, "num_levels": 4}),
    (40, {}, {"num_levels": 1, "sink_tokens": 0}),
    (90, {}, {"open_units": 2, "open_size": 4}),
    (93, {}, {"open_units": 3, "open_size": 8, "max_distance": 32, "level_bias": True}),
    (88, {"num_key_value_heads": 1}, {"open_units": 1, "open_size": 2, "sink_tokens": 5}),
    (70, {"num_key_value_heads": 4}, {"open_units": 4, "open_size": 1, "far_positions": "none"}),
    (80, {}, {"open_units": 100, "open_size": 8, "max_distance": 45}),
    (80, {"position_embedding": "none"}, {"open_units": 3, "open_size": 2, "num_levels": 1}),
    (95, {"qk_norm": True, "attention_bias": True}, {"max_distance": 32}),
    (94, {"rope_factors": [2.0, 8.0], "rope_attention_factor": 1.25}, {"max_distance": 40, "level_bias": True}),
    (98, {"rope_factors": [1.0, 3.5], "rope_attention_factor": 1.5, "layers_without_rope": [0]},
     {"max_distance": 33, "open_units": 2, "open_size": 4}),
]  # fmt: skip


def distinct_tokens(length: int) -> list[int]:
    """No token twice: equal tokens can have equal scores that rounding separates."""
    return np.random.default_rng(length).permutation(SELECT.vocab_size)[:length].tolist()


def observed(model: FmaModel) -> list[Choices]:
    """Collects what every layer chooses from now on."""
    found = []
    for layer in model.model.layers:
        attention = layer.self_attn
        assert isinstance(attention, SelectAttention)
        attention.choices = Choices()
        found.append(attention.choices)
    return found


def chosen_by(choices: Choices, head: int) -> list[list[Any]]:
    """[level, group, tokens] of a KV head, as in golden cases."""
    return [[level, group, position[0, head].tolist()] for level, group, position in choices.chosen]


def opened_by(choices: Choices, head: int, group_size: int, length: int) -> list[list[Any]]:
    """[t, units] of a KV head, as in golden cases."""
    queries = [
        [block * group_size + i, units[0, head, i].nonzero().flatten().tolist()]
        for block, units in choices.opened
        for i in range(group_size)
    ]
    return [[t, units] for t, units in queries if t < length]


PRETRAINED = ["pretrained_llama3", "pretrained_qwen2_yarn", "pretrained_qwen3", "pretrained_smollm3"]
GOLDEN_CASES = [
    GOLDEN / "select_own",
    GOLDEN / "select_max_distance",
    *(GOLDEN / name for name in PRETRAINED),
    GOLDEN / "select_open",
    GOLDEN / "select_open_distance",
]


@pytest.mark.parametrize("folder", GOLDEN_CASES, ids=lambda folder: folder.name)
def test_golden(folder: Path) -> None:
    content = json.loads((folder / "case.json").read_text("utf-8"))
    model = load_model(folder)
    tokens, choices = content["tokens"], observed(model)[0]
    with torch.no_grad():
        logits = model(torch.tensor([tokens]))[0].log_softmax(-1).numpy()
    golden = torch.from_numpy(np.load(folder / "logits.npy")).log_softmax(-1).numpy()
    assert np.abs(logits - golden).max() < 1e-4
    assert chosen_by(choices, 0) == content["chosen"]
    assert opened_by(choices, 0, model.config.fma.group_size, len(tokens)) == content.get("opened", [])
    assert greedy(model, tokens[: content["greedy_prompt_len"]], len(content["greedy"])) == content["greedy"]


def compare(config: FmaConfig, length: int) -> None:
    """Logits and every layer's and head's choices with the definition."""
    model, tokens = random_model(config, columns=min(2, config.fma.num_levels)), distinct_tokens(length)
    choices = observed(model)
    with torch.no_grad():
        logits = model(torch.tensor([tokens]))[0].numpy()
    reference = SelectReference(config, numpy_tensors(model))
    expected = reference.logits(tokens)
    assert reference.margin > SMALL_MARGIN, "choose another seed"
    for number, state in enumerate(reference.states):
        layer, head = divmod(number, config.num_key_value_heads)
        assert chosen_by(choices[layer], head) == [list(choice) for choice in state.chosen]
        opened = opened_by(choices[layer], head, config.fma.group_size, length)
        assert opened == [list(opening) for opening in state.opened]
    assert np.abs(logits - expected).max() < 2e-4


@pytest.mark.parametrize("length, outer, inner", VARIANTS)
def test_blocks_equal_definition(length: int, outer: dict[str, Any], inner: dict[str, Any]) -> None:
    compare(replace(SELECT, **outer, fma=replace(SELECT.fma, **inner)), length)


@pytest.mark.parametrize("seed", range(8))
def test_any_shape_equals_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    config = random_selector(rng)
    compare(config, int(rng.integers(1, 90)))


OPEN = replace(SELECT, fma=replace(SELECT.fma, open_units=2, open_size=4, level_bias=True, max_distance=40))


@pytest.mark.parametrize("config", [SELECT, OPEN], ids=["selected", "opened"])
def test_a_token_has_a_gradient_when_it_is_listed(config: FmaConfig) -> None:
    config = replace(config, num_hidden_layers=1, num_key_value_heads=1)
    model, tokens = random_model(config), distinct_tokens(100)
    choices = observed(model)[0]
    logits = model(torch.tensor([tokens]))
    logits[0, -1].square().sum().backward()
    moved = model.model.embed_tokens.weight.grad.abs().sum(1)[tokens].nonzero().flatten().tolist()
    latest: dict[int, list[list[int]]] = {}
    for level, _, position in choices.chosen:
        latest.setdefault(level, []).append(position[0, 0].tolist())
    own = {level: 99 // config.fma.level_width(level) for level in latest}
    view = {s for level, groups in latest.items() for group in groups[-1 - own[level] % 2 :] for s in group}
    units = choices.opened[-1][1][0, 0, 99 % 8].nonzero().flatten().tolist() if config.fma.open_units else []
    opened = {s for unit in units for s in range(unit * 4, unit * 4 + 4)}
    assert moved == sorted(view | opened | {0, 1} | set(range(88, 100)))


@pytest.mark.parametrize("config", [SELECT, OPEN], ids=["selected", "opened"])
def test_gradients_are_slopes(config: FmaConfig) -> None:
    model, tokens = random_model(config).double(), torch.tensor([distinct_tokens(100)])
    weight = torch.randn(100, config.vocab_size, dtype=torch.float64)
    loss = (model(tokens)[0] * weight).sum()
    loss.backward()
    parameters = list(model.parameters())
    direction = [torch.randn_like(parameter) for parameter in parameters]
    slope = sum(float((parameter.grad * d).sum()) for parameter, d in zip(parameters, direction))

    def moved(step: float) -> float:
        with torch.no_grad():
            for parameter, d in zip(parameters, direction):
                parameter.add_(d, alpha=step)
            value = float((model(tokens)[0] * weight).sum())
            for parameter, d in zip(parameters, direction):
                parameter.sub_(d, alpha=step)
        return value

    step = 1e-7
    assert (moved(step) - moved(-step)) / (2 * step) == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize("config", [SELECT, OPEN], ids=["selected", "opened"])
def test_scores_that_are_made_again_give_the_same_gradients(config: FmaConfig) -> None:
    model, tokens = random_model(config), torch.tensor([distinct_tokens(90), distinct_tokens(91)[:90]])
    gradients = []
    for blocks_at_once in (None, 1):
        model.model.blocks_at_once = blocks_at_once
        model(tokens).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
        model.zero_grad()
    for kept, again in zip(*gradients):
        assert torch.allclose(kept, again, rtol=1e-4, atol=1e-5 * float(kept.abs().max()))


def test_equal_keys_are_equally_novel() -> None:
    torch.manual_seed(0)
    key = torch.randn(2, 3, 16, 6)
    key[:, :, 9] = key[:, :, 4]
    leverage = novelty(key)
    assert torch.equal(leverage[:, :, 9], leverage[:, :, 4]) and leverage.min() > 0
    assert torch.equal(leverage * 1024, (leverage * 1024).round())
    assert torch.equal(novelty(key[:, :, :1].expand_as(key)), torch.zeros(2, 3, 16, dtype=torch.float64))
    assert not novelty(torch.zeros(1, 1, 16, 6)).any()


def test_a_sketch_keeps_each_tokens_projection() -> None:
    torch.manual_seed(0)
    key = torch.randn(1, 2, 32, 8)
    units, sketched = (x.unflatten(2, (4, 8)) for x in (key, sketches(key, 8)))
    z = units - units.mean(3, keepdim=True)
    kept = sketched - units.mean(3, keepdim=True)
    assert torch.allclose((z * kept).sum(-1), z.square().sum(-1), rtol=1e-4)
    assert torch.equal(sketches(key[:, :, :1].expand_as(key), 8), key[:, :, :1].expand_as(key))
    assert torch.allclose(sketches(key, 1), key)


def test_of_equal_units_the_earlier_is_opened() -> None:
    scores = torch.tensor([9.0, 9.0, 1.0, 3.0, 3.0, 0.0, 2.0, 3.0]).expand(1, 1, 1, 8)
    sinks = torch.arange(8) < 2  # the first unit has only sinks
    opened = choose_units(scores, sinks, 2, 2)
    assert opened.tolist() == [[[[False, True, True, False]]]]
    assert choose_units(scores, sinks, 2, 9).tolist() == [[[[False, True, True, True]]]]
