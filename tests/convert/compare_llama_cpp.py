"""Asks llama.cpp what comes next, beside the server's engine with the same weights in float32.

    .venv/bin/pip install xllamacpp
    .venv/bin/python tests/convert/compare_llama_cpp.py        needs the built fma-eval

It prints, for a tiny random model of every architecture, the largest difference of log-probabilities over the whole
vocabulary and how often both have the same first choice.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xllamacpp
from conftest import PRETRAINED
from gguf_files import TOKENS
from programs import BIN, run
from test_gguf import ARCHITECTURES, YARN, as_gguf

LENGTHS = (1, 7, 20, 32)  # within two near groups of as_gguf()


def their_logprobs(file: Path, prompts: list[list[int]], yarn: bool) -> list[dict[int, float]]:
    """Of the token after each prompt; llama.cpp with float32 caches, which by default are float16."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_ctx = 64
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if yarn:  # it does not read these from the file
        parameters.yarn_beta_fast, parameters.yarn_beta_slow = YARN["yarn_beta_fast"], YARN["yarn_beta_slow"]
    server = xllamacpp.Server(parameters)
    return [asked(server, prompt) for prompt in prompts]


def asked(server: Any, prompt: list[int]) -> dict[int, float]:
    request = {"prompt": prompt, "max_tokens": 1, "n_probs": len(TOKENS), "cache_prompt": False}
    answer = server.handle_completions(request)
    top = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    return {entry["id"]: entry["logprob"] for entry in top}


def our_logprobs(folder: Path, tokens: Path, out: Path) -> np.ndarray:
    run(BIN / "fma-eval", "--model", folder, "--token-ids", tokens, "--logits", out, "--mode", "decode")
    logits = np.load(out).astype(np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def compare(name: str, folder: Path) -> str:
    file, _ = as_gguf(name, folder)
    tokens = PRETRAINED / name / "tokens.json"
    ids = json.loads(tokens.read_text("utf-8"))
    ours = our_logprobs(folder / "hf", tokens, folder / "logits.npy")
    worst, equal = 0.0, 0
    theirs = their_logprobs(file, [ids[:length] for length in LENGTHS], "yarn" in name)
    for length, logprobs in zip(LENGTHS, theirs, strict=True):
        row = ours[length - 1]
        assert len(logprobs) == len(row)
        worst = max(worst, *(abs(row[token] - logprob) for token, logprob in logprobs.items()))
        equal += max(logprobs, key=logprobs.__getitem__) == row.argmax()
    return f"{name}: within {worst:.1e}, the same first choice {equal} times of {len(LENGTHS)}"


if __name__ == "__main__":
    lines = []
    for model in ARCHITECTURES:
        with tempfile.TemporaryDirectory() as folder:
            lines.append(compare(model, Path(folder)))
    print(*lines, sep="\n")
