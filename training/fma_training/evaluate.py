"""Scores a checkpoint on a text, continues a prompt, or writes logits, all in float32.

    python3 -m fma_training.evaluate score FOLDER TEXT --context 2048
    python3 -m fma_training.evaluate generate FOLDER "Once upon a time" --tokens 64
    python3 -m fma_training.evaluate logits FOLDER TEXT OUT.npy --context 256

`score` reads the text as one sequence of tokens, without a token of its own at the start, in windows of
--context tokens that are each scored from scratch: the logits at position i of a window predict its token
i + 1, and a window's first token is not scored. Bits per byte are nats / ln 2 / bytes of the scored tokens.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch

from .arrays import Integers
from .checkpoint import load_model
from .checks import Words, refusal
from .data import read_text
from .model import FmaModel
from .objective import next_tokens
from .scoring import Score, answer_nats, token_sizes, windows_of
from .tokenizer import Tokenizer, load_tokenizer


def score_by_position(
    model: FmaModel, tokens: Integers, sizes: Integers, context: int, batch: int, edges: list[int]
) -> list[Score]:
    """One score for each range of positions [edges[i], edges[i + 1]); a position is where the logits are."""
    scores = [Score() for _ in edges[1:]]
    for windows in windows_of(tokens, context, batch):
        there = torch.from_numpy(windows).to(model.head_weight.device)
        nats = answer_nats(model.model, model.head_weight, next_tokens(there))
        bytes_of = sizes[windows[:, 1:]]
        for score, start, stop in zip(scores, edges, edges[1:]):
            score.add(nats[:, start:stop], bytes_of[:, start:stop])
    return scores


def position_edges(group_size: int, context: int) -> list[int]:
    """0, m, 2m, 4m, ... up to the context: the near field, then each doubling of what is seen."""
    edges = [0]
    width = group_size
    while width < context:
        edges.append(width)
        width *= 2
    return [*edges, context]


@torch.no_grad()
def greedy(model: FmaModel, prompt: list[int], count: int) -> list[int]:
    """The arg-max continuation of a prompt, each token from scratch."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(model(torch.tensor([ids], device=model.head_weight.device))[0, -1].argmax()))
    return ids[len(prompt) :]


def remove_far_field(model: FmaModel) -> None:
    """Leaves only the near field: a level bias of minus infinity hides every summary."""
    with torch.no_grad():
        for layer in model.model.layers:
            if layer.self_attn.level_bias is None:
                raise SystemExit(refusal("--without-far-field", Words("set"), "with a level_bias in the model only"))
            layer.self_attn.level_bias.weight.fill_(-math.inf)


def _score(model: FmaModel, tokenizer: Tokenizer, arguments: argparse.Namespace) -> None:
    tokens = np.asarray(tokenizer.encode(read_text(arguments.text))[: arguments.max_tokens], np.int64)
    sizes = token_sizes(tokenizer, model.config.vocab_size)
    edges = position_edges(model.config.fma.group_size, arguments.context)
    scores = score_by_position(model, tokens, sizes, arguments.context, arguments.batch, edges)
    for score, start, stop in zip(scores, edges, edges[1:]):
        if score.tokens:
            print(f"positions {start}-{stop - 1}: {score.bits_per_byte:.4f} bits per byte, {score.tokens} tokens")
    total = Score(sum(s.nats for s in scores), sum(s.tokens for s in scores), sum(s.bytes for s in scores))
    print(
        f"all: {total.bits_per_byte:.4f} bits per byte, perplexity {total.perplexity:.3f}, "
        f"{total.tokens} tokens, {total.bytes} bytes"
    )


def _generate(model: FmaModel, tokenizer: Tokenizer, arguments: argparse.Namespace) -> None:
    ids = greedy(model, tokenizer.encode(arguments.prompt), arguments.tokens)
    print(arguments.prompt + tokenizer.decode_bytes(ids).decode("utf-8", "replace"))


@torch.no_grad()
def _logits(model: FmaModel, tokenizer: Tokenizer, arguments: argparse.Namespace) -> None:
    ids = tokenizer.encode(read_text(arguments.text))[: arguments.context]
    np.save(arguments.out, model(torch.tensor([ids], device=model.head_weight.device))[0].cpu().numpy())


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    score = commands.add_parser("score", help="bits per byte and perplexity of a text")
    _common(score, _score)
    score.add_argument("text", type=Path, help="UTF-8 text, plain or .xz")
    score.add_argument("--context", type=int, default=2048, help="tokens per window (default %(default)s)")
    score.add_argument("--batch", type=int, default=1, help="windows at a time (default %(default)s)")
    score.add_argument("--max-tokens", type=int, help="score only the first so many tokens")
    score.add_argument("--without-far-field", action="store_true", help="hide every summary: an ablation")

    generate = commands.add_parser("generate", help="continue a prompt with the likeliest tokens")
    _common(generate, _generate)
    generate.add_argument("prompt")
    generate.add_argument("--tokens", type=int, default=64, help="(default %(default)s)")

    logits = commands.add_parser("logits", help="write the logits of a text's first tokens")
    _common(logits, _logits)
    logits.set_defaults(needs_decoder=False)
    logits.add_argument("text", type=Path)
    logits.add_argument("out", type=Path, help=".npy file, float32 [tokens, vocab]")
    logits.add_argument("--context", type=int, default=256, help="tokens (default %(default)s)")
    return parser.parse_args(words)


def _common(parser: argparse.ArgumentParser, command: object) -> None:
    parser.add_argument("folder", type=Path, help="checkpoint folder")
    parser.add_argument("--num-levels", type=int, help="serve a model with shared levels at another depth")
    parser.add_argument("--threads", type=int, default=1, help="(default %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for a GPU (default %(default)s)")
    parser.set_defaults(command=command, without_far_field=False, needs_decoder=True)


def main(words: list[str] | None = None) -> None:
    arguments = parse_arguments(words)
    torch.set_num_threads(arguments.threads)
    model = load_model(arguments.folder, arguments.num_levels).to(arguments.device)
    if arguments.needs_decoder and not model.config.fma.causal:
        raise SystemExit(refusal(str(arguments.folder), Words("an encoder"), "decoders; `logits` takes both"))
    if arguments.without_far_field:
        remove_far_field(model)
    arguments.command(model, load_tokenizer(arguments.folder, model.config.tokenizer), arguments)


if __name__ == "__main__":
    main()
