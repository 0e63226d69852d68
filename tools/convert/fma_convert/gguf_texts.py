"""tokenizer.json, chat template and special tokens from the metadata of a GGUF file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .decoder import Decoder
from .fields import Fields
from .refusal import Refused, shown
from .splits import SPLITS
from .texts import SPECIAL_TOKENS, TOKENIZER_JSON, Given, Texts, checked_template, read_template, read_tokenizer
from .tokens import id_or_list

_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_MAX_TOKEN = 1024  # characters
_SPACE = "\u2581"  # SentencePiece's


def gguf_texts(fields: Fields, decoder: Decoder, given: Given) -> Texts:
    generation = {"bos_token_id": id_or_list(decoder.bos), "eos_token_id": id_or_list(decoder.eos)}
    generation = {key: value for key, value in generation.items() if value is not None}
    template = _template(fields, given)
    if fields.get("tokenizer.ggml.tokens") is None:
        own = {TOKENIZER_JSON: read_tokenizer(given.tokenizer, decoder.vocab_size)} if given.tokenizer else {}
        return Texts(own, template, generation=generation)
    vocabulary = _Vocabulary(fields, decoder.vocab_size)
    if given.tokenizer:
        content = read_tokenizer(given.tokenizer, decoder.vocab_size)
    else:
        content = json.dumps(vocabulary.tokenizer(), ensure_ascii=False, indent=1).encode("utf-8")
    return Texts({TOKENIZER_JSON: content}, template, vocabulary.special_tokens(), generation)


def _template(fields: Fields, given: Given) -> str | None:
    if given.chat_template:
        return read_template(given.chat_template)
    if fields.get("tokenizer.chat_template") is None:
        return None
    return checked_template(fields.text("tokenizer.chat_template"), f"{fields.where}: tokenizer.chat_template")


class _Vocabulary:
    """The tokens of tokenizer.ggml.*, each once, with their types."""

    def __init__(self, fields: Fields, vocab_size: int) -> None:
        self.fields = fields
        self.tokens: list[str] = fields.list_of("tokenizer.ggml.tokens", str)
        if not 1 <= len(self.tokens) <= vocab_size:
            found = f"{len(self.tokens)} tokens"
            raise fields.refuse("tokenizer.ggml.tokens", found, f"1 to {vocab_size}, the rows of the embeddings")
        longest = max(self.tokens, key=len)
        if len(longest) > _MAX_TOKEN:
            raise fields.refuse("tokenizer.ggml.tokens", f"{len(longest)} characters", f"tokens of up to {_MAX_TOKEN}")
        count = len(self.tokens)
        has_types = fields.get("tokenizer.ggml.token_type") is not None
        self.types = fields.list_of("tokenizer.ggml.token_type", int, count) if has_types else [_NORMAL] * count
        self.ids = {token: i for i, token in enumerate(self.tokens) if self.types[i] != _UNUSED}
        if len(self.ids) != sum(kind != _UNUSED for kind in self.types):
            raise fields.refuse("tokenizer.ggml.tokens", "a list with a token twice", "each token once")

    def tokenizer(self) -> dict[str, Any]:
        """The object of a tokenizer.json."""
        kind = self.fields.text("tokenizer.ggml.model")
        if kind == "gpt2":
            return self._byte_level()
        if kind == "llama":
            return self._sentencepiece()
        raise self.fields.refuse("tokenizer.ggml.model", shown(kind), "gpt2, llama, or --tokenizer FILE")

    def special_tokens(self) -> dict[str, str]:
        found = {}
        for name, key in zip(SPECIAL_TOKENS, ("bos", "eos", "unknown", "padding"), strict=True):
            token = self._special(key)
            if token is not None:
                found[name] = token
        return found

    def _byte_level(self) -> dict[str, Any]:
        name = self.fields.text("tokenizer.ggml.pre", "gpt-2")
        if name not in SPLITS:
            allowed = ", ".join(SPLITS) + "; or --tokenizer FILE"
            raise self.fields.refuse("tokenizer.ggml.pre", shown(name), allowed)
        split = SPLITS[name]
        bytes_of = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
        steps: list[dict[str, Any]] = []
        if split.digits:
            steps.append({"type": "Digits", "individual_digits": True})
        if split.pattern is not None:
            pattern = {"Regex": split.pattern}
            steps.append({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False})
        steps.append({**bytes_of, "use_regex": split.pattern is None})
        model = {"ignore_merges": split.ignore_merges, "merges": self._merges()}
        return self._file(
            model=model,
            normalizer={"type": "NFC"} if split.normalise else None,
            pre_tokenizer={"type": "Sequence", "pretokenizers": steps},
            decoder={**bytes_of, "use_regex": True},
            starts=split.starts,
        )

    def _sentencepiece(self) -> dict[str, Any]:
        """Merges are not in the file: a pair may merge when its union is a token, the better its score the sooner."""
        scores = self.fields.list_of("tokenizer.ggml.scores", float, len(self.tokens))
        spaces = [{"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}]
        back: list[dict[str, Any]] = [
            {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
        ]
        if self.fields.boolean("tokenizer.ggml.add_space_prefix", True):
            spaces = [{"type": "Prepend", "prepend": _SPACE}, *spaces]
            back.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
        model = {
            "unk_token": self._special("unknown") or self._token(_UNKNOWN),
            "fuse_unk": True,
            "byte_fallback": True,
            "merges": list(self._scored_merges(scores)),
        }
        return self._file(
            model=model,
            normalizer={"type": "Sequence", "normalizers": spaces},
            pre_tokenizer=None,
            decoder={"type": "Sequence", "decoders": back},
            starts=True,
        )

    def _file(
        self,
        model: dict[str, Any],
        normalizer: dict[str, Any] | None,
        pre_tokenizer: dict[str, Any] | None,
        decoder: dict[str, Any],
        starts: bool,
    ) -> dict[str, Any]:
        none = {"dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None}
        kind = {"type": "BPE", **none, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [self._added(i) for i in range(len(self.tokens)) if self._is_added(i)],
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": self._start() if self.fields.boolean("tokenizer.ggml.add_bos_token", starts) else None,
            "decoder": decoder,
            "model": {**kind, "vocab": self.ids, **model},
        }

    def _is_added(self, token: int) -> bool:
        return self.types[token] in (_CONTROL, _USER, _UNKNOWN)

    def _added(self, token: int) -> dict[str, Any]:
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        return {"id": token, "content": self.tokens[token], **flags, "special": self.types[token] != _USER}

    def _start(self) -> dict[str, Any] | None:
        """Texts begin with the BOS token."""
        token = self._special("bos")
        if token is None:
            return None
        bos, text = {"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
        second = [{"SpecialToken": {"id": token, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}]
        return {
            "type": "TemplateProcessing",
            "single": [bos, text],
            "pair": [bos, text, *second],
            "special_tokens": {token: {"id": token, "ids": [self.ids[token]], "tokens": [token]}},
        }

    def _special(self, key: str) -> str | None:
        """The text of tokenizer.ggml.KEY_token_id."""
        if self.fields.get(f"tokenizer.ggml.{key}_token_id") in (None, -1):
            return None
        return self.tokens[self.fields.integer(f"tokenizer.ggml.{key}_token_id", 0, len(self.tokens) - 1)]

    def _token(self, kind: int) -> str | None:
        return next((token for token, x in zip(self.tokens, self.types, strict=True) if x == kind), None)

    def _merges(self) -> list[list[str]]:
        """Pairs whose parts and union are tokens, the first the most urgent."""
        pairs = []
        for merge in self.fields.list_of("tokenizer.ggml.merges", str):
            left, space, right = merge.partition(" ")
            if not space or not {left, right, left + right} <= self.ids.keys():
                raise Refused(f"{self.fields.where}: merge {shown(merge)} is not of two tokens into a third")
            pairs.append([left, right])
        return pairs

    def _scored_merges(self, scores: list[float]) -> Iterator[list[str]]:
        found = []
        for token, i in self.ids.items():
            if self.types[i] != _NORMAL and self.types[i] != _USER:
                continue
            for cut in range(1, len(token)):
                left, right = self.ids.get(token[:cut]), self.ids.get(token[cut:])
                if left is not None and right is not None:
                    found.append((-scores[i], i, left, right))
        return ([self.tokens[left], self.tokens[right]] for _, _, left, right in sorted(found))
