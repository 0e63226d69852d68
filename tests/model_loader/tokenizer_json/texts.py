"""Texts that tokenizers find hard, and ordinary ones."""

from __future__ import annotations

import random
from collections.abc import Iterator

FRAGMENTS = [
    *" \t\n\r\v\f\0\x01\x04\x7f\x85\u00a0\u00ad\u1680\u180e\u200b\u200c\u200d\u2028\u2029\u202f\u3000\ufeff\ufffd",
    *["  ", "   ", "\n\n", "\r\n", " \n", "\n ", "\t\t", "        ", "\u2581", " \u2581", "\u0120", "\u010a"],
    *["'s", "'S", "'\u017f", "'t", "'re", "'VE", "'m", "'ll", "'D", "n't", "\u2019s", "'", "''"],
    *["0", "7", "12", "345", "6789", "1,234.5", "3.14e-10", "\u0663", "\u00b2", "\u2160", "\u4e09", "\U0001d7d8"],
    *["the", " the", "The", "THE", " Hello", "don't", "camelCase", "snake_case", "XMLHttpRequest", "a", "I", "\u00df"],
    *[
        ".",
        ",",
        "!",
        "?",
        "...",
        "--",
        "//",
        "/*",
        "*/",
        "();",
        "{}",
        "[]",
        "<",
        ">",
        "|",
        "\\",
        '"',
        "`",
        "~",
        "^",
        "_",
    ],
    *["na\u00efve", "nai\u0308ve", "\u00c5", "A\u030a", "\u212b", "\u212a", "\ufb01", "\u1e9b\u0323", "q\u0307\u0323"],
    *["\u0301", "\u0315\u0300\u05ae\u0062", "\u0344", "\u0f73", "\u09c7\u09be", "\u1100\u1161\u11a8", "\uac00\u11a8"],
    *["\u4f60\u597d"],
    *["\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8", "\ud55c\uad6d\uc5b4", "\u0e20\u0e32\u0e29\u0e32"],
    *["\u0645\u0631\u062d\u0628\u0627", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u041f\u0440\u0438\u0432\u0435\u0442"],
    *["\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", "\U00020000"],
    *["<", "<|", "|>", "<s", "</s>", "<unk>", "<0x41>", "<0xE2>", "[INST]", "\uff5c", "<|im_start|>", "</think>"],
]


class TextMaker:
    """Makes texts of every sort in turn; equal seeds give equal texts."""

    def __init__(self, seed: int, books: str, controls: list[str], characters: list[str]) -> None:
        self._random = random.Random(seed)
        self._characters = characters
        self._books = books
        self._controls = controls
        self._sorts = [self.slice_of_book, self.fragments, self.any_characters]
        self._sorts += [self.neighbours, self.run, self.with_controls]

    def texts(self, count: int) -> Iterator[str]:
        for i in range(count):
            yield self._sorts[i % len(self._sorts)]()

    def slice_of_book(self) -> str:
        start = self._random.randrange(len(self._books))
        return self._books[start : start + self._random.randrange(1, 400)]

    def fragments(self) -> str:
        return "".join(self._random.choices(FRAGMENTS, k=self._random.randrange(1, 25)))

    def any_characters(self) -> str:
        return "".join(self._random.choices(self._characters, k=self._random.randrange(1, 12)))

    def neighbours(self) -> str:
        """Characters of one block, as a script would have them."""
        start = self._random.randrange(len(self._characters))
        block = self._characters[start : start + 100]
        return "".join(self._random.choices([*block, " ", "\n"], k=self._random.randrange(1, 40)))

    def run(self) -> str:
        """The same over and over."""
        few = ["".join(self._random.choices(FRAGMENTS, k=self._random.randrange(1, 3))) for _ in range(2)]
        return few[0] * self._random.randrange(1, 60) + few[1] * self._random.randrange(60)

    def with_controls(self) -> str:
        parts = []
        for _ in range(6):
            part = self._random.choice(self._controls) if self._random.random() < 0.4 else self.fragments()[:8]
            if self._random.random() < 0.2:  # hardly a control token any more
                part = part[: self._random.randrange(1 + len(part))]
            parts.append(part)
        return "".join(parts)
