"""Makes the small tokenizer.json files of this folder and records what the original library does with them.

    python3 make_json.py TEXT_FILE

Needs the package tokenizers. TEXT_FILE is any English text of some 100 KB; the committed files come from public-domain
books. Writes *.json, which have the shapes of published vocabularies, and json_cases.json: for each of them the frame,
and a list of texts with their ids when control tokens are found and when they stay text, and what the latter decode to.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

Json = dict[str, Any]

FOLDER = Path(__file__).resolve().parent
SPACE = "\u2581"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CJK = r"[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
DEEPSEEK = (
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
)
TEXTS = [
    *["", " ", "   ", "\n", "\r\n\r\n", "\t", "a", "\u00e9", "\0", "\x04 \x06"],
    "It was the best of times,\nit was the worst of times.\n\n\n'Twas 1859.",
    " Hello  world ,  I'LL don't 'S '\u017f 12345 1,234.5 \u0663\u00b2\u2160",
    "nai\u0308ve na\u00efve \u212b \u212a \ufb01 q\u0307\u0323 q\u0323\u0307 "
    "\u1100\u1161\u11a8 \u0344 \ud55c\uad6d\uc5b4",
    "\u4f60\u597d\u3001\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 "
    "\u0645\u0631\u062d\u0628\u0627 \u041f\u0440\u0438\u0432\u0435\u0442",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \u180e \u200b \u00a0 \u3000 \u2028 \x85 \ufeff",
    "XMLHttpRequest camelCase snake_case //comment\n/* x */ {}[]();",
    "\u2581already\u2581escaped \u0120 \u010a <0x41> <0xE2>",
    "<s>a</s> <s> b </s><unk><|end|>",
    "<s><|end|><|end <think>x</think>  <think>  y  </think>  word wordy aword word",
    "  <pad>  <pad>x<pad>\n\n<mask> . <mask><mask>",
    "caf\u00e9 cafe\u0301 CAFE\u0301!",
    "a" * 70,
    "ha" * 40 + " " * 40 + "\n" * 9,
]
ALPHABET = [
    *"etaoin shrdlu \n\n0123.,'",
    *["the", "ing", " the", "<s>", "</s>", "<think>", "<pad>", "word", "<mask>", "\u00e9", "e\u0301", "\U0001f600"],
    *["\t", "\u2581", "\u4f60", "\u0120", "'ll", "  ", "\r\n"],
]
TOKENS = [
    AddedToken("<s>", special=True, normalized=False),
    AddedToken("</s>", special=True, normalized=False),
    AddedToken("<unk>", special=True, normalized=False),
    AddedToken("<|end|>", special=True, normalized=False),
    AddedToken("<think>", special=False, normalized=False),
    AddedToken("</think>", special=False, normalized=True),
    AddedToken("<pad>", special=True, normalized=False, lstrip=True, rstrip=True),
    AddedToken("<mask>", special=True, normalized=True, lstrip=True),
    AddedToken("word", special=False, normalized=False, single_word=True),
    AddedToken("cafe\u0301", special=False, normalized=True),
]


def byte_level(use_regex: bool = False, prefix: bool = False) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=use_regex)


def split(expression: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(expression), "isolated")


def frame(first: str) -> processors.PostProcessor:
    return processors.TemplateProcessing(single=f"{first} $A </s>", special_tokens=[(first, 0), ("</s>", 1)])


def trained(text: str, before: Any, all_bytes: bool, **model: Any) -> Tokenizer:
    tokenizer = Tokenizer(BPE(**model))
    tokenizer.pre_tokenizer = before
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet()) if all_bytes else []
    trainer = BpeTrainer(
        vocab_size=600, special_tokens=TOKENS[:4], initial_alphabet=alphabet, show_progress=False, limit_alphabet=400
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(TOKENS)
    return tokenizer


def with_fallback(tokenizer: Tokenizer) -> Tokenizer:
    """The same merges, and a token for each byte."""
    content = json.loads(tokenizer.to_str())
    vocab = content["model"]["vocab"]
    first = 1 + max(vocab.values())
    content["model"]["vocab"] = vocab | {f"<0x{byte:02X}>": first + byte for byte in range(256)}
    content["model"] |= {"byte_fallback": True, "unk_token": "<unk>", "fuse_unk": True}
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] in vocab]
    made = Tokenizer.from_str(json.dumps(content))
    made.add_tokens(TOKENS)
    return made


def make_all(text: str) -> dict[str, Tokenizer]:
    sequence = pre_tokenizers.Sequence
    made = {
        "gpt2": trained(text, byte_level(use_regex=True, prefix=True), True),
        "smollm": trained(text, sequence([pre_tokenizers.Digits(True), byte_level(use_regex=True)]), False),
        "llama3": trained(text, sequence([split(LLAMA3), byte_level()]), True, ignore_merges=True),
        "qwen": trained(text, sequence([split(LLAMA3.replace("{1,3}", "")), byte_level()]), True),
        "tekken": trained(text, sequence([split(TEKKEN), byte_level()]), True),
        "deepseek": trained(text, sequence([split(r"\p{N}{1,3}"), split(CJK), split(DEEPSEEK), byte_level()]), True),
        "mistral": with_fallback(trained(text, pre_tokenizers.Metaspace(), False)),
        "metaspace": with_fallback(trained(text, pre_tokenizers.Metaspace(prepend_scheme="first"), False)),
        "unknown": trained(text, pre_tokenizers.Metaspace(), False, unk_token="<unk>", fuse_unk=True),
        "punctuation": trained(
            text,
            sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("merged_with_previous")]),
            False,
            unk_token="<unk>",
        ),
    }
    made["qwen"].normalizer = normalizers.NFC()
    made["deepseek"].normalizer = normalizers.Sequence([])
    made["punctuation"].normalizer = normalizers.NFKD()
    made["llama3"].post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), frame("<s>")])
    made["mistral"].post_processor = frame("<s>")
    made["mistral"].pre_tokenizer = None
    made["mistral"].normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made["mistral"].decoder = decoders.Sequence(steps)
    made["metaspace"].pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    made["metaspace"].decoder = decoders.Sequence(steps[:3])
    made["unknown"].decoder = decoders.Metaspace()
    made["punctuation"].decoder = decoders.Fuse()
    return made


def cases(tokenizer: Tokenizer, book: str) -> Json:
    generator = random.Random(1)
    texts = list(TEXTS)
    texts += ["".join(generator.choices(ALPHABET, k=generator.randrange(1, 40))) for _ in range(25)]
    texts += [book[start : start + 120] for start in range(1000, 4000, 1000)]
    framed = tokenizer.encode("").ids
    added = tokenizer.get_added_tokens_decoder()
    # The library decodes these to what its normalizer makes of them, the server as the file spells them.
    respelled = {i for i, token in added.items() if tokenizer.id_to_token(i) != token.content}
    recorded = []
    for text in texts:
        tokenizer.encode_special_tokens = False
        found = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = True
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        decoded = tokenizer.decode(ids) if respelled.isdisjoint(ids) else None
        recorded.append({"text": text, "found": found, "ids": ids, "decoded": decoded})
    return {"frame": framed, "cases": recorded}


def main() -> None:
    text = Path(sys.argv[1]).read_text()
    lines = []
    for name, tokenizer in make_all(text).items():
        content = json.loads(tokenizer.to_str())
        if name == "gpt2":  # as old files spell them
            content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
        compact = json.dumps(content, separators=(",", ":"))
        (FOLDER / f"{name}.json").write_text(compact + "\n")
        recorded = cases(Tokenizer.from_str(compact), text)
        items = ",\n".join(json.dumps(case, separators=(",", ":")) for case in recorded["cases"])
        lines.append(f'"{name}": {{"frame": {recorded["frame"]}, "cases": [\n{items}\n]}}')
    (FOLDER / "json_cases.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
