"""Our tokenizers, written as tokenizer.json and read by the server's reader: the tokens are SentencePiece's."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest
import sentencepiece
from conftest import BIN, DEMO_MODEL, ROOT
from fma_training import tokenizer_json

DATA = ROOT / "tests" / "data"
PARTS = [
    "the ",
    "ing",
    " ",
    "   ",
    "\n",
    "\n\n",
    "\t",
    "\0",
    "a",
    "aaa",
    "é",
    "日本",
    "▁",
    "😀",
    "<unk>",
    "<0x41>",
    "12",
]


def texts() -> list[str]:
    generator = random.Random(1)
    mixed = ["".join(generator.choices(PARTS, k=generator.randrange(30))) for _ in range(500)]
    return [(DATA / "validation-excerpt.txt").read_text(encoding="utf-8"), *mixed]


def answers(file: Path, requests: list[dict[str, object]]) -> list[dict[str, object]]:
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([BIN / "encode_lines", file], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("model", [DEMO_MODEL / "tokenizer.model", DATA / "tokenizer" / "bpe_exact.model"])
def test_written_tokenizers_encode_alike(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    tokenizer_json.main([str(model), str(file)])
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    expected = [processor.encode(text) for text in texts()]
    found = answers(file, [{"text": text} for text in texts()])
    assert [answer["ids"] for answer in found] == expected
    decoded = answers(file, [{"ids": ids} for ids in expected])
    assert [answer["text"] for answer in decoded] == [processor.decode(ids) for ids in expected]


@pytest.mark.parametrize("name", ["bpe_prefix", "unigram_suffix"])
def test_models_that_change_text_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allowed: those of train_tokenizer"):
        tokenizer_json.main([str(DATA / "tokenizer" / f"{name}.model"), str(tmp_path / "tokenizer.json")])
