"""The parallel model against the golden logits and against the definition token by token."""

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
from fma_training.model import FmaForCausalLM, FmaModel, make_model
from reference import Reference

CASES = sorted(folder for folder in GOLDEN.iterdir() if folder.is_dir())
SMALL = FmaConfig(
    vocab_size=24, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=4, max_position_embeddings=96, fma=FmaSettings(4, 2, 3),
)  # fmt: skip
VARIANTS: list[tuple[int, dict[str, Any], dict[str, Any]]] = [
    # tokens, changes of the model, changes of fma
    (70, {}, {}),
    (67, {}, {"share_levels": True, "level_bias": True, "far_positions": "none", "sink_tokens": 3}),
    (61, {}, {"share_levels": True, "level_bias": True, "sink_tokens": 4, "num_levels": 1}),
    (50, {"num_key_value_heads": 1, "tie_word_embeddings": True}, {"num_levels": 1, "sink_tokens": 1}),
    (60, {"num_key_value_heads": 4}, {"downsampling": "conv", "scale_far_field": True}),
    (80, {"position_embedding": "none", "mlp": "gelu_tanh"}, {"downsampling": "average", "num_levels": 2}),
    (33, {"norm": "layernorm", "position_embedding": "learned", "mlp": "gelu", "attention_bias": True},
     {"downsampling": "grouped_conv", "padding": "zero_keys", "scale_far_field": True, "num_levels": 4}),
    (19, {"mlp_bias": True}, {"padding": "zero_keys", "level_bias": True, "num_levels": 5, "group_size": 8}),
    (1, {}, {"padding": "zero_keys"}),
    (65, {}, {"group_size": 1, "rank": 1, "num_levels": 5, "share_levels": True}),
    (75, {}, {"max_distance": 20, "sink_tokens": 2, "level_bias": True}),
    (66, {}, {"max_distance": 16, "sink_tokens": 1, "num_levels": 4}),
    (70, {}, {"max_distance": 1000, "downsampling": "conv"}),
    (61, {}, {"max_distance": 17, "padding": "zero_keys", "scale_far_field": True}),
    (70, {"qk_norm": True}, {"level_bias": True}),
    (68, {"rope_factors": [1.0, 5.5], "rope_attention_factor": 1.3, "layers_without_rope": [1]},
     {"sink_tokens": 2, "max_distance": 20, "level_bias": True}),
    (55, {"layers_without_rope": [0, 1], "attention_bias": True, "qk_norm": True}, {"far_positions": "none"}),
]  # fmt: skip


def random_model(config: FmaConfig, columns: int | None = None) -> FmaModel:
    torch.manual_seed(1)
    model = make_model(config, columns).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def numpy_tensors(model: FmaModel) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_golden(folder: Path) -> None:
    case = json.loads((folder / "case.json").read_text("utf-8"))
    model = load_model(folder)
    with torch.no_grad():
        logits = model(torch.tensor([case["tokens"]]))[0].log_softmax(-1).numpy()
    golden = torch.from_numpy(np.load(folder / "logits.npy")).log_softmax(-1).numpy()
    assert np.abs(logits - golden).max() < 1e-4
    prompt = case["tokens"][: case["greedy_prompt_len"]]
    assert greedy(model, prompt, len(case["greedy"])) == case["greedy"]


@pytest.mark.parametrize("length, outer, inner", VARIANTS)
def test_parallel_equals_definition(length: int, outer: dict[str, Any], inner: dict[str, Any]) -> None:
    config = replace(SMALL, **outer, fma=replace(SMALL.fma, **inner))
    model = random_model(config, columns=min(2, config.fma.num_levels) if config.fma.level_bias else None)
    tokens = np.random.default_rng(length).integers(0, config.vocab_size, length).tolist()
    with torch.no_grad():
        logits = model(torch.tensor([tokens]))[0].numpy()
    expected = Reference(config, numpy_tensors(model)).logits(tokens)
    assert np.abs(logits - expected).max() < 2e-4


def test_more_shared_levels_change_nothing_within_the_horizon() -> None:
    config = replace(SMALL, fma=replace(SMALL.fma, share_levels=True, level_bias=True, far_positions="none"))
    model = random_model(config, columns=2)
    deeper = FmaForCausalLM(replace(config, fma=replace(config.fma, num_levels=9)), 2).eval()
    deeper.load_state_dict(model.state_dict())
    tokens = torch.randint(0, config.vocab_size, (2, 64))  # 4 * w_3 = 64
    with torch.no_grad():
        assert torch.equal(model(tokens), deeper(tokens))


def test_a_batch_is_its_sequences() -> None:
    model = random_model(SMALL)
    tokens = torch.randint(0, SMALL.vocab_size, (3, 45))
    with torch.no_grad():
        together = model(tokens)
        alone = torch.cat([model(row[None]) for row in tokens])
    assert torch.allclose(together, alone, atol=1e-5)


def test_learned_positions_end() -> None:
    model = random_model(replace(SMALL, position_embedding="learned"))
    with pytest.raises(ValueError, match="97 tokens"):
        model(torch.zeros(1, 97, dtype=torch.long))
