"""Trains the small SentencePiece models of this folder and records what the reference does with them.

    python3 make_models.py TEXT_FILE

Needs the reference implementation (Debian package python3-sentencepiece). TEXT_FILE is any English
text of some 100 KB; the committed models come from public-domain books. Writes *.model and
cases.json: per model a list of texts with the reference's ids and what it decodes them to.
"""

from __future__ import annotations

import io
import json
import os
import random
import sys
import tempfile
from pathlib import Path

import sentencepiece

FOLDER = Path(__file__).resolve().parent
RULES = [("ﬁ", "fi"), ("Ａ", "A"), ("\t", " "), ("\u00a0", " "), ("…", "..."), ("\u200b", ""), ("é", "e")]
MODELS = {
    # Gives every text back byte for byte, as the project's own tokenizers do.
    "bpe_exact": {
        "model_type": "bpe",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "user_defined_symbols": ["\n\n", "\n"],
        "split_digits": True,
        "allow_whitespace_only_pieces": True,
        "bos_id": -1,
        "eos_id": -1,
    },
    # The usual form of large language models: dummy prefix and bytes.
    "bpe_prefix": {
        "model_type": "bpe",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
    },
    # SentencePiece's defaults with a small rule table: rewriting, squeezed spaces, unknown tokens.
    "unigram_rules": {
        "model_type": "unigram",
        "user_defined_symbols": ["<sep>", "ing"],
    },
    "unigram_suffix": {
        "model_type": "unigram",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "treat_whitespace_as_suffix": True,
    },
}
TEXTS = [
    "",
    " ",
    "   ",
    "Hello world",
    " Hello  world ",
    "It was the best of times,\nit was the worst of times.\n\n\n'Twas 1859.",
    "singing <sep>ringing<sep> ing",
    "caf\u00e9 na\u00efve \ufb01ne \uff21\uff22 wait\u2026\ttab\u00a0nbsp zero\u200bwidth",
    "emoji \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 and \u4f60\u597d, \u0645\u0631\u062d\u0628\u0627",
    "nul \0 inside",
    "\u2581already\u2581escaped",
    "<s> </s> <unk> <0x41>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
]
ALPHABET = [*"etaoin shrdlu \n\n0123.,'", "the", "ing", "<sep>", "\u00e9", "\U0001f600", "\ufb01", "\t", "\u2581"]


def train(name: str, options: dict[str, object], text: str) -> bytes:
    lines = [line for line in text.replace("\0", "\n").split("\n") if line]
    rules = Path("rules.tsv")  # a relative name, because the model remembers it
    if "normalization_rule_name" not in options:
        hexadecimal = [[" ".join(f"{ord(c):x}" for c in side) for side in rule] for rule in RULES]
        rules.write_text("".join("\t".join(rule) + "\n" for rule in hexadecimal))
        options = {**options, "normalization_rule_tsv": str(rules)}
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=500, minloglevel=2, num_threads=1, **options
    )
    return model.getvalue()


def cases(model: bytes, text: str) -> list[dict[str, object]]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    generator = random.Random(1)
    texts = list(TEXTS)
    texts += ["".join(generator.choices(ALPHABET, k=generator.randrange(1, 40))) for _ in range(20)]
    texts += [text[start : start + 120] for start in range(1000, 6000, 1000)]
    return [{"text": t, "ids": processor.encode(t), "decoded": processor.decode(processor.encode(t))} for t in texts]


def main() -> None:
    text = Path(sys.argv[1]).read_text()
    recorded = {}
    os.chdir(tempfile.mkdtemp())
    for name, options in MODELS.items():
        model = train(name, options, text)
        (FOLDER / f"{name}.model").write_bytes(model)
        recorded[name] = cases(model, text)
    lines = [f'"{name}": [\n' + ",\n".join(json.dumps(case) for case in recorded[name]) + "\n]" for name in MODELS]
    (FOLDER / "cases.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
