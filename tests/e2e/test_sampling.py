"""Each sampling filter of the server against plain numpy: thousands of draws from a model with random weights.

Every step of a generation is a draw from its own distribution, which numpy computes from the model's logits there, the
options and the history. Over many steps each token and each rank must be drawn as often as this distribution says.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import BIN, run, serve
from fma_training.checkpoint import load_model, save_model
from fma_training.config import FmaConfig, FmaSettings
from fma_training.model import FmaForCausalLM

VOCAB = 40
STEPS = 1500
PROMPT = [3, 3, 17, 5]


@dataclass
class Options:
    temperature: float = 1
    top_k: int = 0
    top_p: float = 1
    min_p: float = 0
    repetition_penalty: float = 1
    frequency_penalty: float = 0
    presence_penalty: float = 0
    logit_bias: dict[int, float] = field(default_factory=dict)
    allow_token: list[int] = field(default_factory=list)
    ban_token: list[int] = field(default_factory=list)

    def words(self) -> list[object]:
        """The options of `fma generate`."""
        words: list[object] = []
        for name, value in vars(self).items():
            option = "--" + name.replace("_", "-")
            if isinstance(value, dict):
                for token, bias in value.items():
                    words += [option, f"{token}={bias}"]
            elif isinstance(value, list):
                for token in value:
                    words += [option, token]
            elif value != getattr(Options, name):
                words += [option, value]
        return words


CASES = {
    "plain": Options(),
    "temperature": Options(temperature=0.5),
    "top_k": Options(top_k=6),
    "top_p": Options(top_p=0.6),
    "top_p of few": Options(temperature=0.7, top_p=0.25),
    "min_p": Options(temperature=2, min_p=0.3),
    "repetition_penalty": Options(repetition_penalty=1.7),
    "frequency_penalty": Options(frequency_penalty=0.03),
    "presence_penalty": Options(temperature=0.5, presence_penalty=1.8),
    "logit_bias": Options(logit_bias={0: 2.5, 7: -3, 39: 1}),
    "allowed": Options(allow_token=[1, 2, 30, 31, 32]),
    "banned": Options(ban_token=[0, 3, 9, 10, 11, 12]),
    "all": Options(
        temperature=1.4, top_k=15, top_p=0.9, min_p=0.02, repetition_penalty=1.2, frequency_penalty=0.004,
        presence_penalty=0.3, logit_bias={4: 1.5}, ban_token=[8],
    ),
}  # fmt: skip


def distribution(logits: np.ndarray, options: Options, prompt: list[int], output: Counter[int]) -> np.ndarray:
    """The distribution of the next token; ties do not occur."""
    logits = logits.astype(np.float64)
    if options.allow_token:
        logits[[token for token in range(VOCAB) if token not in options.allow_token]] = -np.inf
    logits[options.ban_token] = -np.inf
    for token, bias in options.logit_bias.items():
        logits[token] += bias
    for token in {*prompt, *output}:
        logits[token] *= options.repetition_penalty if logits[token] < 0 else 1 / options.repetition_penalty
        logits[token] -= options.frequency_penalty * output[token] + options.presence_penalty * (output[token] > 0)
    chances = np.exp((logits - logits.max()) / options.temperature)
    chances[chances < options.min_p * chances.max()] = 0
    order = np.argsort(-chances)
    if options.top_k:
        chances[order[options.top_k :]] = 0
    chances /= chances.sum()
    before = np.concatenate(([0], np.cumsum(chances[order])[:-1]))
    chances[order[before >= options.top_p]] = 0
    return chances / chances.sum()


def deviation(hits: np.ndarray, chances: np.ndarray) -> float:
    """The worst column's distance from its expected sum, in standard deviations (rare columns get some leeway)."""
    variance = (chances * (1 - chances)).sum(axis=0)
    return float(np.abs((hits - chances).sum(axis=0) / np.sqrt(variance + 2)).max())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sampling")
    torch.manual_seed(2)
    config = FmaConfig(
        vocab_size=VOCAB,
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=4096,
        fma=FmaSettings(group_size=8, rank=2, num_levels=8),
    )
    model = FmaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.25)
    save_model(folder, config, model.state_dict(), "float32")
    return folder


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[str]:
    with serve(model, "--threads", 1) as address:
        yield address


@pytest.mark.parametrize("case", CASES)
def test_draws_follow_the_distribution(case: str, model: Path, server: str) -> None:
    options = CASES[case]
    lines = run(
        BIN / "fma", "generate", "--server", server, "--json", "--ignore-eos", "--max-tokens", STEPS, "--seed", 11,
        "--top-logprobs", VOCAB, "--token-ids", PROMPT, *options.words(),
    )  # fmt: skip
    deltas = [delta for delta in map(json.loads, lines.splitlines()) if delta["event"] == "delta"]
    tokens = [token for delta in deltas for token in delta["token_ids"]]
    tops = [top for delta in deltas for top in delta["top_logprobs"]]
    assert len(tokens) == len(tops) == STEPS

    # The server's log-probabilities of what follows, which are exact; PyTorch's logits for the constant that they lack.
    with torch.no_grad():
        totals = load_model(model)(torch.tensor([PROMPT + tokens[:-1]]))[0].logsumexp(-1).numpy()
    logprobs = np.empty((STEPS, VOCAB))
    for row, top in zip(logprobs, tops):
        row[[entry["token_id"] for entry in top]] = [entry["logprob"] for entry in top]
    logits = logprobs + totals[len(PROMPT) - 1 :, None]

    output: Counter[int] = Counter()
    chances = np.empty_like(logits)
    for step, token in enumerate(tokens):
        chances[step] = distribution(logits[step], options, PROMPT, output)
        assert chances[step, token] > 0, f"step {step}: token {token} cannot be drawn"
        output[token] += 1
    hits = np.eye(VOCAB)[tokens]
    ranks = np.argsort(-chances, axis=1)
    by_rank = [np.take_along_axis(matrix, ranks, axis=1) for matrix in (hits, chances)]
    assert deviation(hits, chances) < 5
    assert deviation(*by_rank) < 5
    if case != "plain":
        drawn = (np.arange(STEPS), tokens)
        evidence = (np.log(chances[drawn]) - logprobs[drawn]).sum()
        assert evidence > 10, "the test would not notice that the option does nothing"
