"""Trains a SentencePiece tokenizer on a corpus.

python3 -m fma_training.train_tokenizer --corpus CORPUS --out tokenizer.model
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

from .data import read_split
from .tokenizer import SentencePieceTokenizer, train_sentencepiece


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--corpus", type=Path, required=True, help="folder of *-train*.txt and *-valid*.txt, plain or .xz"
    )
    parser.add_argument("--out", type=Path, required=True, help="the model file to write")
    parser.add_argument("--vocab-size", type=int, default=4096, help="ids, bytes included (default %(default)s)")
    parser.add_argument("--files", type=int, default=1, help="train on the first so many files (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    arguments = parse_arguments(words)
    texts = islice(read_split(arguments.corpus, "train"), arguments.files)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    train_sentencepiece(texts, arguments.out, arguments.vocab_size, arguments.threads)
    tokenizer = SentencePieceTokenizer(arguments.out)
    text = next(read_split(arguments.corpus, "valid"))
    ids = tokenizer.encode(text)
    size = len(text.encode("utf-8"))
    if tokenizer.decode_bytes(ids) != text.encode("utf-8"):
        raise SystemExit("the tokenizer does not give the validation text back")
    print(f"{arguments.out}: {tokenizer.vocab_size} ids, {size / len(ids):.3f} bytes per token, exact on {size} bytes")


if __name__ == "__main__":
    main()
