"""Bidirectional models, O(n log n) and O(n): golden logits and embeddings, and the definition token by token."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import GOLDEN
from fma_training.checkpoint import load_model
from fma_training.config import FmaConfig, FmaSettings
from fma_training.model import FmaForMaskedLM, FmaModel
from random_configs import random_encoder
from reference_encoder import EncoderReference
from test_model import SMALL, numpy_tensors, random_model

GOLDEN_ENCODERS = GOLDEN.parent / "golden_encoders"

ENCODER = replace(SMALL, fma=replace(SMALL.fma, causal=False), mask_token_id=3)
LINEAR = {"query_downsampling": True}
VARIANTS: list[tuple[int, dict[str, Any], dict[str, Any]]] = [
    # tokens, changes of the model, changes of fma
    (64, {}, {}),
    (70, {}, {"level_bias": True, "num_levels": 2}),
    (61, {}, {"share_levels": True, "far_positions": "none", "num_levels": 5}),
    (67, {"num_key_value_heads": 4}, {"downsampling": "conv", "scale_far_field": True}),
    (66, {"position_embedding": "none", "mlp": "gelu_tanh"}, {"downsampling": "average"}),
    (57, {}, {"downsampling": "average", "rank": 4, "level_bias": True}),
    (45, {"norm": "layernorm", "position_embedding": "learned", "mlp": "gelu", "attention_bias": True},
     {"downsampling": "grouped_conv", "scale_far_field": True, "num_levels": 4}),
    (33, {"num_key_value_heads": 1, "tie_word_embeddings": True}, {"num_levels": 1}),
    (1, {}, {}),
    (9, {}, {"group_size": 1, "rank": 1, "num_levels": 5}),
]  # fmt: skip


def random_tokens(config: FmaConfig, length: int) -> list[int]:
    return np.random.default_rng(length).integers(0, config.vocab_size, length).tolist()


def compare(model: FmaModel, tokens: list[int]) -> None:
    with torch.no_grad():
        logits = model(torch.tensor([tokens]))[0].numpy()
    expected = EncoderReference(model.config, numpy_tensors(model)).logits(tokens)
    assert np.abs(logits - expected).max() < 2e-4


@pytest.mark.parametrize("case", ["encoder_grouped_conv", "encoder_linear"])
def test_golden(case: str) -> None:
    content = json.loads((GOLDEN_ENCODERS / case / "case.json").read_text("utf-8"))
    model = load_model(GOLDEN_ENCODERS / case)
    assert isinstance(model, FmaForMaskedLM)
    tokens = torch.tensor([content["tokens"]])
    with torch.no_grad():
        logits, embedding = model(tokens)[0].log_softmax(-1).numpy(), model.embed(tokens)[0].numpy()
    golden = torch.from_numpy(np.load(GOLDEN_ENCODERS / case / "logits.npy")).log_softmax(-1).numpy()
    assert np.abs(logits - golden).max() < 1e-4
    assert np.abs(embedding - content["embedding"]).max() < 1e-5


@pytest.mark.parametrize("asking", [{}, LINEAR], ids=["n log n", "n"])
@pytest.mark.parametrize("length, outer, inner", VARIANTS)
def test_parallel_equals_definition(
    length: int, outer: dict[str, Any], inner: dict[str, Any], asking: dict[str, bool]
) -> None:
    config = replace(ENCODER, **outer, fma=replace(ENCODER.fma, **inner, **asking))
    compare(random_model(config, columns=min(2, config.fma.num_levels)), random_tokens(config, length))


@pytest.mark.parametrize("seed", range(8))
def test_any_shape_equals_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    config = random_encoder(rng)
    compare(random_model(config), random_tokens(config, int(rng.integers(1, 60))))


@pytest.mark.parametrize("downsampling", ["grouped_conv", "hierarchical", "average"])
@pytest.mark.parametrize("asking", [{}, LINEAR], ids=["n log n", "n"])
def test_every_incomplete_group(downsampling: str, asking: dict[str, bool]) -> None:
    config = replace(ENCODER, num_hidden_layers=1, fma=replace(ENCODER.fma, downsampling=downsampling, **asking))
    model = random_model(config)
    for length in range(1, 50, 4):
        compare(model, random_tokens(config, length))


def test_an_embedding_is_the_definitions() -> None:
    model, tokens = random_model(ENCODER), random_tokens(ENCODER, 39)
    assert isinstance(model, FmaForMaskedLM)
    with torch.no_grad():
        embedding = model.embed(torch.tensor([tokens]))[0].numpy()
    assert np.abs(embedding - EncoderReference(ENCODER, numpy_tensors(model)).embedding(tokens)).max() < 1e-5


@pytest.mark.parametrize("kind", [{"causal": True}, {}, LINEAR], ids=["decoder", "n log n", "n"])
def test_fewer_blocks_at_once_change_nothing(kind: dict[str, bool]) -> None:
    config = replace(ENCODER, fma=replace(ENCODER.fma, level_bias=True, **kind))
    model = random_model(config)
    tokens = torch.tensor([random_tokens(config, 77)])
    weight = torch.randn(77, config.vocab_size)

    def gradients(blocks_at_once: int | None) -> list[torch.Tensor]:
        model.model.blocks_at_once = blocks_at_once
        (model(tokens)[0] * weight).sum().backward()
        found = [parameter.grad.clone() for parameter in model.parameters()]
        model.zero_grad()
        return found

    whole = gradients(None)
    for blocks_at_once in (1, 3, 19):
        for a, b in zip(whole, gradients(blocks_at_once)):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(a.abs().max()))


@pytest.mark.parametrize("kind", [{"causal": True}, {}, LINEAR], ids=["decoder", "n log n", "n"])
def test_scores_of_one_chunk_alone_are_kept(kind: dict[str, bool]) -> None:
    settings = FmaSettings(16, 4, 4, level_bias=True, **{"causal": False, **kind})
    model = random_model(replace(ENCODER, num_hidden_layers=1, fma=settings))
    tokens = torch.tensor([random_tokens(ENCODER, 512)])

    def largest_kept(blocks_at_once: int | None) -> int:
        """Numbers in the largest tensor that the forward pass keeps for the gradient."""
        model.model.blocks_at_once = blocks_at_once
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
            model.model(tokens)
        return max(sizes)

    near_scores = ENCODER.num_attention_heads * 512 * 2 * settings.group_size
    assert largest_kept(None) >= near_scores
    assert largest_kept(1) < near_scores / 4


def test_down_sampled_queries_have_tensors_of_their_own() -> None:
    linear = random_model(replace(ENCODER, fma=replace(ENCODER.fma, **LINEAR)))
    added = linear.state_dict().keys() - random_model(ENCODER).state_dict().keys()
    weights = {f"{level}.{part}" for level in range(3) for part in ("weight", "bias")}
    assert added == {f"model.layers.{i}.self_attn.q_downsample.{name}" for i in range(2) for name in weights}
