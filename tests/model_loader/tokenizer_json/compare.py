"""Compares the server's reader of tokenizer.json with the original library, text by text.

    python3 compare.py --program build/release/bin/encode_lines --books FILE VOCABULARY.json...

Needs the package tokenizers. Each text is encoded twice, its control tokens found or left as text, and the latter
answer is decoded. The characters are those that Python's tables of Unicode and the library's own have both. Prints for
each vocabulary how many answers there were and how many differ, with the first of those; the exit code is 1 when one
does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from texts import TextMaker
from tokenizers import Tokenizer, normalizers

Json = dict[str, Any]
SHOWN = 5


def known_characters() -> list[str]:
    """Assigned characters whose normal forms the library knows, as its tables for them are old ones."""
    decomposed, compatible = normalizers.NFD(), normalizers.NFKD()

    def is_known(character: str) -> bool:
        if unicodedata.category(character) in ("Cn", "Cs", "Co"):
            return False
        probe = f"a\u0345{character}"  # of all marks U+0345 comes last
        if decomposed.normalize_str(probe) != unicodedata.normalize("NFD", probe):
            return False
        return compatible.normalize_str(probe) == unicodedata.normalize("NFKD", probe)

    return [character for character in map(chr, range(0x110000)) if is_known(character)]


def respelled_tokens(tokenizer: Tokenizer) -> set[int]:
    """Added tokens that the library decodes to what its normalizer makes of them, the server as they are written."""
    added = tokenizer.get_added_tokens_decoder()
    return {i for i, token in added.items() if tokenizer.id_to_token(i) != token.content}


def requests_of(tokenizer: Tokenizer, texts: Iterator[str]) -> Iterator[tuple[Json, Json]]:
    """Requests to encode_lines, with the answers of the original."""
    respelled = respelled_tokens(tokenizer)
    for text in texts:
        for control in (True, False):
            tokenizer.encode_special_tokens = not control
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            yield {"text": text, "control": control}, {"ids": ids}
        if respelled.isdisjoint(ids):
            yield {"ids": ids}, {"text": tokenizer.decode(ids)}


def compare(program: Path, vocabulary: Path, texts: Iterator[str]) -> tuple[int, int]:
    """Answers, and how many of them differ."""
    tokenizer = Tokenizer.from_file(str(vocabulary))
    expected = []
    with tempfile.TemporaryFile("w+") as asked, tempfile.TemporaryFile("w+") as answered:
        for request, answer in requests_of(tokenizer, texts):
            expected.append(answer)
            asked.write(json.dumps(request) + "\n")
        asked.seek(0)
        subprocess.run([program, vocabulary], stdin=asked, stdout=answered, check=True)
        asked.seek(0)
        answered.seek(0)
        different = 0
        for question, found, answer in zip(asked, answered, expected, strict=True):
            if json.loads(found) != answer:
                different += 1
                if different <= SHOWN:
                    print(f"  {question.strip()}\n    expected {answer}\n    found    {found.strip()}")
    return len(expected), different


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, required=True, help="encode_lines")
    parser.add_argument("--books", type=Path, required=True, help="ordinary text, UTF-8")
    parser.add_argument("--texts", type=int, default=40000, help="for each vocabulary (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("vocabularies", type=Path, nargs="+")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    books = arguments.books.read_text()
    characters = known_characters()
    failed = False
    for vocabulary in arguments.vocabularies:
        added = [token["content"] for token in json.loads(vocabulary.read_text())["added_tokens"]]
        maker = TextMaker(arguments.seed, books, added or ["<s>"], characters)
        answers, different = compare(arguments.program.resolve(), vocabulary, maker.texts(arguments.texts))
        print(f"{vocabulary.stem}: {arguments.texts} texts, {answers} answers, {different} different", flush=True)
        failed = failed or different > 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
