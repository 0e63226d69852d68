"""Tokenizers: SentencePiece BPE that gives text back exactly, and plain bytes.

The end-of-text token of both is the NUL byte. Text hardly ever contains it, so it can end documents in a plain text
file, and an encoder needs no rule of its own to find it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import sentencepiece

from .checks import Words, refusal

TOKENIZER_FILE = "tokenizer.model"
# Longest first, as SentencePiece matches them: a run of newlines never merges with its neighbours.
NEWLINE_SYMBOLS = ["\n\n", "\n"]
# Encoding is exact when cut between a newline and another character (see NEWLINE_SYMBOLS); short
# pieces keep SentencePiece's queue small.
_SAFE_CUT = re.compile(r"[^\n]*\n+|[^\n]+")
_CHUNK_CHARACTERS = 1 << 16


class Tokenizer(Protocol):
    """What training and evaluation need from a tokenizer."""

    name: str  # distinguishes it from others in file names
    vocab_size: int
    eos_id: int

    def encode(self, text: str) -> list[int]: ...

    def decode_bytes(self, ids: Iterable[int]) -> bytes: ...


class ByteTokenizer:
    """The id of a token is the value of a UTF-8 byte; ids from 256 up have no text."""

    name = "bytes"
    vocab_size = 256
    eos_id = 0

    def encode(self, text: str) -> list[int]:
        return list(text.encode("utf-8"))

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        return bytes(i for i in ids if i < 256)


class SentencePieceTokenizer:
    """A SentencePiece model whose pieces spell the text byte for byte."""

    def __init__(self, model_file: Path) -> None:
        self.name = hashlib.sha256(model_file.read_bytes()).hexdigest()[:8]
        self._processor = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
        self.vocab_size = self._processor.vocab_size()
        self.eos_id = self._processor.piece_to_id("<0x00>")
        self._bytes_of = [self._piece_bytes(i) for i in range(self.vocab_size)]

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for chunk in _chunks(text):
            ids.extend(self._processor.encode(chunk))
        return ids

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        return b"".join(self._bytes_of[i] for i in ids)

    def _piece_bytes(self, token: int) -> bytes:
        piece = self._processor.id_to_piece(token)
        if self._processor.is_byte(token):
            return bytes([int(piece[3:5], 16)])
        if self._processor.is_control(token) or self._processor.is_unknown(token):
            return b""
        return piece.replace("\u2581", " ").encode("utf-8")


def load_tokenizer(folder: Path, kind: str | None = None) -> Tokenizer:
    """The tokenizer of a checkpoint folder; `kind` is the config's `tokenizer` key."""
    if kind == "bytes":
        return ByteTokenizer()
    model_file = folder / TOKENIZER_FILE
    if not model_file.is_file():
        raise FileNotFoundError(
            refusal(str(model_file), Words("missing"), 'none with "tokenizer": "bytes" in config.json only')
        )
    return SentencePieceTokenizer(model_file)


def train_sentencepiece(texts: Iterable[str], model_file: Path, vocab_size: int, threads: int = 1) -> None:
    """Trains a BPE model on `texts` and writes it to `model_file`."""
    lines = (line for text in texts for line in re.split(r"[\n\0]+", text) if line)
    with model_file.open("wb") as out:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=out,
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            character_coverage=0.9995,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            user_defined_symbols=NEWLINE_SYMBOLS,
            split_digits=True,
            allow_whitespace_only_pieces=True,
            max_sentence_length=1 << 20,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=threads,
            minloglevel=1,
        )


def _chunks(text: str) -> Iterator[str]:
    pending: list[str] = []
    size = 0
    for match in _SAFE_CUT.finditer(text):
        pending.append(match.group())
        size += len(match.group())
        if size >= _CHUNK_CHARACTERS:
            yield "".join(pending)
            pending, size = [], 0
    if pending:
        yield "".join(pending)
