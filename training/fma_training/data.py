"""Turns text on disk into token arrays, and draws random windows from them."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .arrays import Integers
from .checks import Words, refusal
from .tokenizer import Tokenizer

TOKEN_TYPE = np.uint16


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, plain or .xz, every character kept as it is."""
    raw = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    return raw.decode("utf-8")


def corpus_files(corpus: Path, split: str) -> list[Path]:
    """The files of one split: names with `-train` or `-valid` in them, .txt or .txt.xz."""
    files = sorted(f for f in corpus.iterdir() if f"-{split}" in f.name and ".txt" in f.suffixes)
    if not files:
        raise FileNotFoundError(
            refusal(f"{corpus}", Words(f"without a text of the split {split}"), f"files *-{split}*.txt, .txt.xz")
        )
    return files


def read_split(corpus: Path, split: str) -> Iterator[str]:
    for file in corpus_files(corpus, split):
        yield read_text(file)


def cached_tokens(corpus: Path, split: str, tokenizer: Tokenizer, work: Path) -> Integers:
    """Token ids of a split [tokens] as a private map of a file in `work`, made on first use."""
    if tokenizer.vocab_size > np.iinfo(TOKEN_TYPE).max + 1:
        raise ValueError(refusal("number of ids", tokenizer.vocab_size, f"those that fit {np.dtype(TOKEN_TYPE)}"))
    path = work / f"{split}-{tokenizer.name}.tokens"
    if not path.is_file():
        work.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as out:
            for text in read_split(corpus, split):
                np.asarray(tokenizer.encode(text), TOKEN_TYPE).tofile(out)
        partial.rename(path)
    return np.memmap(path, TOKEN_TYPE, mode="c")


def on_device(tokens: Integers, device: torch.device) -> Tensor:
    """Token ids on the model's device, as int16: PyTorch cannot index with uint16. On a CPU this does not copy."""
    return torch.from_numpy(tokens.view(np.int16)).to(device)


def random_windows(tokens: Tensor, count: int, length: int, rng: np.random.Generator) -> Tensor:
    """`count` windows of `length` + 1 consecutive ids [count, length + 1], int64, of ids from `on_device`."""
    if len(tokens) <= length:
        raise ValueError(refusal("text", Words(f"{len(tokens)} tokens"), f"{length} + 1 or more, a window"))
    starts = torch.from_numpy(rng.integers(0, len(tokens) - length, count))
    if tokens.is_cuda:
        starts = starts.pin_memory().to(tokens.device, non_blocking=True)  # the host need not wait
    places = starts[:, None] + torch.arange(length + 1, device=tokens.device)
    return tokens[places].long() & 0xFFFF
