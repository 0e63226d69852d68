"""Text comes back byte for byte from both tokenizers."""

from __future__ import annotations

from pathlib import Path

import pytest
from fma_training.tokenizer import ByteTokenizer, SentencePieceTokenizer, Tokenizer, load_tokenizer, train_sentencepiece

AWKWARD = [
    "", " ", "  two  spaces  ", "\n", "\n\n\n", " \n \n\n x", "a\r\nb\tc\r", "tab\t\tend\t", "😀 🏳️‍🌈",
    "\U0001d518 e\u0301 \u00e9",
    "a\0b\0\0", "<0x41> <unk> </s>", "\u200b\ufeff\u00a0", "x" * 5000, "1234567890", "\x7f\x01",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, prose: str) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_sentencepiece([prose], folder / "tokenizer.model", 400)
    return folder


@pytest.fixture(params=["bytes", "sentencepiece"])
def tokenizer(request: pytest.FixtureRequest, trained: Path) -> Tokenizer:
    return load_tokenizer(trained, "bytes" if request.param == "bytes" else None)


def test_round_trip(tokenizer: Tokenizer, prose: str) -> None:
    for text in [*AWKWARD, prose]:
        assert tokenizer.decode_bytes(tokenizer.encode(text)) == text.encode("utf-8")


def test_nul_is_end_of_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("\0") == [tokenizer.eos_id]


def test_cutting_long_text_changes_no_token(trained: Path, prose: str) -> None:
    tokenizer = SentencePieceTokenizer(trained / "tokenizer.model")
    text = prose * 30
    assert tokenizer.encode(text) == tokenizer._processor.encode(text)


def test_newlines_are_tokens(trained: Path) -> None:
    tokenizer = SentencePieceTokenizer(trained / "tokenizer.model")
    assert len(tokenizer.encode("\n\n\n")) == 2


def test_missing_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="bytes"):
        load_tokenizer(tmp_path)


def test_byte_specials_spell_nothing() -> None:
    assert ByteTokenizer().decode_bytes([72, 256, 105]) == b"Hi"
