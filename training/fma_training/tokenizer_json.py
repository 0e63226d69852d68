"""Writes a trained tokenizer as tokenizer.json, for tools that read this format alone.

python3 -m fma_training.tokenizer_json tokenizer.model tokenizer.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2 as sp

Json = dict[str, Any]

SPACE = "\u2581"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = (
    sp.ModelProto.SentencePiece.Type.Value(name) for name in ("NORMAL", "UNKNOWN", "CONTROL", "USER_DEFINED", "BYTE")
)


def tokenizer_json(model_file: Path) -> Json:
    """The content of a tokenizer.json that encodes and decodes as this SentencePiece model does.

    Models like those of train_tokenizer: BPE with byte fallback that changes no text. Others are a ValueError.
    """
    model = sp.ModelProto.FromString(model_file.read_bytes())
    _check(model, model_file)
    pieces = model.pieces
    kinds = (UNKNOWN, CONTROL, USER_DEFINED)
    added = [_added(i, piece) for i, piece in enumerate(pieces) if piece.type in kinds]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": next(piece.piece for piece in pieces if piece.type == UNKNOWN),
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece.piece: i for i, piece in enumerate(pieces)},
            "merges": _merges(model),
        },
    }


def _check(model: sp.ModelProto, model_file: Path) -> None:
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    changes_text = normalizer.precompiled_charsmap or normalizer.add_dummy_prefix or normalizer.remove_extra_whitespaces
    if trainer.model_type != sp.TrainerSpec.BPE or not trainer.byte_fallback:
        raise ValueError(f"{model_file}: the model is not BPE with byte fallback; allowed: those of train_tokenizer")
    if changes_text or not normalizer.escape_whitespaces:
        raise ValueError(f"{model_file}: the model changes the text; allowed: those of train_tokenizer")
    for piece in model.pieces:
        if piece.type == USER_DEFINED and SPACE in piece.piece:
            raise ValueError(f"{model_file}: the symbol {piece.piece!r} has a space; allowed: symbols without one")


def _added(token: int, piece: sp.ModelProto.SentencePiece) -> Json:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": token, "content": piece.piece, **flags, "special": piece.type != USER_DEFINED}


def _merges(model: sp.ModelProto) -> list[list[str]]:
    """Every way to make a piece of two others, the best piece first, as SentencePiece merges."""
    scores = {piece.piece: piece.score for piece in model.pieces if piece.type == NORMAL}
    best_first = sorted(scores, key=lambda piece: -scores[piece])
    return [
        [piece[:at], piece[at:]]
        for piece in best_first
        for at in range(len(piece) - 1, 0, -1)
        if piece[:at] in scores and piece[at:] in scores
    ]


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="tokenizer.model, as train_tokenizer writes it")
    parser.add_argument("out", type=Path, help="the tokenizer.json to write")
    arguments = parser.parse_args(words)
    content = tokenizer_json(arguments.model)
    arguments.out.write_text(json.dumps(content, ensure_ascii=False) + "\n")
    print(f"{arguments.out}: {len(content['model']['vocab'])} tokens, {len(content['model']['merges'])} merges")


if __name__ == "__main__":
    main()
