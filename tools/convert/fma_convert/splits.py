"""How byte-level tokenizers cut texts before merges, by the names that GGUF gives them. The patterns are those of the
original tokenizer.json files."""

from __future__ import annotations

from dataclasses import dataclass

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
)
_LLAMA3 = "|".join((_CONTRACTIONS, _WORDS, r"\p{N}{1,3}", _REST))
_QWEN2 = "|".join((_CONTRACTIONS, _WORDS, r"\p{N}", _REST))
_TEKKEN = "|".join((_CASED, r"\p{N}", _REST.replace(r"[\r\n]*", r"[\r\n/]*")))


@dataclass(frozen=True)
class Split:
    """What a tokenizer does before merges."""

    pattern: str | None = None  # None: GPT-2's
    digits: bool = False  # each digit on its own, before
    normalise: bool = False  # NFC
    ignore_merges: bool = False  # a piece that is a token as a whole is that token
    starts: bool = False  # texts begin with the BOS token, when the file does not say


SPLITS = {
    "gpt-2": Split(),
    "smollm": Split(digits=True),
    "llama-bpe": Split(_LLAMA3, ignore_merges=True, starts=True),
    "smaug-bpe": Split(_LLAMA3),
    "qwen2": Split(_QWEN2, normalise=True),
    "tekken": Split(_TEKKEN, ignore_merges=True, starts=True),
}
