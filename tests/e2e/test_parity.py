"""The served demo model against the PyTorch model of training/: same likelihoods, same tokens."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import BIN, DEMO_MODEL, ROOT, run
from fma_training.checkpoint import load_model
from fma_training.evaluate import score_by_position
from fma_training.model import FmaForCausalLM
from fma_training.scoring import token_sizes
from fma_training.tokenizer import Tokenizer, load_tokenizer

EXCERPT = ROOT / "tests" / "data" / "validation-excerpt.txt"
CONTEXT = 2048


@pytest.fixture(scope="module")
def model() -> FmaForCausalLM:
    return load_model(DEMO_MODEL)


@pytest.fixture(scope="module")
def tokenizer(model: FmaForCausalLM) -> Tokenizer:
    return load_tokenizer(DEMO_MODEL, model.config)


def test_tokenizers_agree(tokenizer: Tokenizer, demo_server: str, tmp_path: Path) -> None:
    text = EXCERPT.read_text(encoding="utf-8") + "  \t tabs\r\nand café 🙂 𝔽\n\n\n"
    file = tmp_path / "text.txt"
    file.write_bytes(text.encode())
    line = run(BIN / "fma", "tokenize", "--server", demo_server, "--json", "-f", file)
    assert json.loads(line)["token_ids"] == list(tokenizer.encode(text))


@pytest.mark.parametrize("mode", ["prefill", "decode"])
def test_bits_per_byte_agree(model: FmaForCausalLM, tokenizer: Tokenizer, mode: str) -> None:
    tokens = np.asarray(tokenizer.encode(EXCERPT.read_text(encoding="utf-8")), np.int64)
    sizes = token_sizes(tokenizer, model.config.vocab_size)
    (expected,) = score_by_position(model, tokens, sizes, CONTEXT, 1, [0, CONTEXT])
    output = run(
        BIN / "fma-eval", "--model", DEMO_MODEL, "--text", EXCERPT, "--context", CONTEXT, "--mode", mode
    )
    found = re.search(r"bits per byte\s+([\d.]+)", output)
    assert found is not None
    assert float(found.group(1)) == pytest.approx(expected.bits_per_byte, abs=1e-3)


def test_generate_gives_the_greedy_tokens(model: FmaForCausalLM, tokenizer: Tokenizer, demo_server: str) -> None:
    """Every token is the arg-max of PyTorch's logits after all tokens before it: the greedy continuation."""
    page = DEMO_MODEL / "page.txt"
    output = run(
        BIN / "fma", "generate", "--server", demo_server, "--json", "--temperature", 0,
        "--max-tokens", 200, "--ignore-eos", "--prompt-file", page,
    )  # fmt: skip
    events = [json.loads(line) for line in output.splitlines()]
    generated = [token for event in events for token in event.get("token_ids", [])]
    prompt = list(tokenizer.encode(page.read_text(encoding="utf-8")))
    with torch.no_grad():
        logits = model(torch.tensor([prompt + generated]))[0]
    assert len(generated) == 200
    assert generated == logits[len(prompt) - 1 : -1].argmax(-1).tolist()
