"""Tokenizers of GGUF files against the library whose format tokenizer.json is, and what else goes with the weights."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from conftest import ROOT
from fma_convert.decoder import Decoder
from fma_convert.fields import Fields
from fma_convert.gguf_texts import gguf_texts
from fma_convert.refusal import Refused
from fma_convert.rope import RopeScaling
from fma_convert.source import open_source
from fma_convert.texts import Given
from folders import change, converted, copied
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

DECODER = Decoder("llama", 1000, 8, 8, 1, 1, 1, 8, 64, 1e-5, 1e4, RopeScaling(), True, bos=[1], eos=[2])
SPECIALS = ["<unk>", "<s>", "</s>"]
TEXTS = [
    "", " ", "a", "The cat  sat on\n\n the mat.\r\n\r\n", "it's we'LL they'd ''", "x=1234567890; y = 3.14\t\t42",
    "café — “naïve” 😀👩‍👩‍👧  ",
    "日本語のテキスト", "e\u0301 vs é", "</s> is text <s>", "\u00a0\u3000 \x00 ok", "ʼn ǅ Ǆ ١٢٣",
    "  leading", "trailing   ", "camelCaseAndHTTPServer /path/to//file\n/x", "a!\n/b;\r\n//c",
]  # fmt: skip
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def prose() -> list[str]:
    return [(ROOT / "tests" / "data" / "validation-excerpt.txt").read_text("utf-8")[:60_000], *TEXTS]


def byte_level(pre: str) -> Tokenizer:
    """A small tokenizer of the kind that GGUF calls `pre`, as its own folder would have it."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=pre in ("llama-bpe", "tekken")))
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre in ("gpt-2", "smollm"))
    before: list[Any] = {
        "gpt-2": [],
        "smollm": [pre_tokenizers.Digits(individual_digits=True)],
        "llama-bpe": [pre_tokenizers.Split(Regex(LLAMA3), "isolated")],
        "qwen2": [pre_tokenizers.Split(Regex(QWEN2), "isolated")],
        "tekken": [pre_tokenizers.Split(Regex(TEKKEN), "isolated")],
    }[pre]
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    # Trained on whole lines, so that there are merges which only the pre-tokenizer in question prevents.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options: dict[str, Any] = {"special_tokens": SPECIALS, "initial_alphabet": alphabet, "show_progress": False}
    trainer = trainers.BpeTrainer(vocab_size=700, **options)
    lines = [*prose()[0].splitlines(), *[*TEXTS, "1234 1234567 a!\n/b;\r\n//c"] * 20]
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*before, bytes_of])
    state = json.loads(tokenizer.to_str())
    del state["model"]["merges"][-100:]  # so there are tokens that only ignore_merges finds
    return Tokenizer.from_str(json.dumps(state))


def metadata(tokenizer: Tokenizer, **more: Any) -> dict[str, Any]:
    """tokenizer.ggml.* of a tokenizer."""
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    values = {
        "tokens": [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())],
        "token_type": [2, 3, 3] + [1] * (tokenizer.get_vocab_size() - 3),
        "merges": [" ".join(pair) for pair in merges],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
        **more,
    }
    return {f"tokenizer.ggml.{key}": value for key, value in values.items()}


def rebuilt(values: dict[str, Any]) -> Tokenizer:
    texts = gguf_texts(Fields(values, "x.gguf"), DECODER, Given())
    return Tokenizer.from_str(texts.tokenizer["tokenizer.json"].decode())


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2", "tekken"])
def test_byte_level_tokenizers(pre: str) -> None:
    original = byte_level(pre)
    ours = rebuilt(metadata(original, model="gpt2", pre=pre, add_bos_token=False))
    for text in prose():
        ids = original.encode(text).ids
        assert ours.encode(text).ids == ids
        assert ours.decode(ids) == original.decode(ids)


def piece_type(model: sentencepiece.SentencePieceProcessor, piece: int) -> int:
    kinds = (model.is_unknown, 2), (model.is_control, 3), (model.is_byte, 6)
    return next((number for is_it, number in kinds if is_it(piece)), 1)


@pytest.mark.parametrize("dummy_prefix", [True, False])
def test_sentencepiece_tokenizers(dummy_prefix: bool) -> None:
    """Against SentencePiece: the file has scores in place of merges."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(prose()[0].split("\n")), model_writer=model, model_type="bpe", vocab_size=700,
        byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=dummy_prefix, split_digits=True,
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, minloglevel=2,
    )  # fmt: skip
    original = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = range(original.vocab_size())
    values = {
        "model": "llama",
        "tokens": [original.id_to_piece(i) for i in pieces],
        "scores": [float(original.get_score(i)) for i in pieces],
        "token_type": [piece_type(original, i) for i in pieces],
        "unknown_token_id": 0,
        "add_bos_token": False,
        "add_space_prefix": dummy_prefix,
    }
    ours = rebuilt({f"tokenizer.ggml.{key}": value for key, value in values.items()})
    for text in prose()[0].split("\n")[:200] + [text for text in TEXTS if "</s>" not in text]:
        ids = original.encode(text)
        assert ours.encode(text).ids == ids
        assert ours.decode(ids) == original.decode(ids)


def test_texts_begin_as_the_file_says() -> None:
    original = byte_level("gpt-2")
    plain = original.encode("a b").ids
    assert rebuilt(metadata(original, model="gpt2", add_bos_token=True)).encode("a b").ids == [1, *plain]
    assert rebuilt(metadata(original, model="gpt2")).encode("a b").ids == plain
    assert rebuilt(metadata(original, model="gpt2", pre="llama-bpe")).encode("").ids == [1]


def test_special_tokens_are_special() -> None:
    original = byte_level("gpt-2")
    original.add_special_tokens([AddedToken("</s>", special=True)])
    ours = rebuilt(metadata(original, model="gpt2"))
    assert ours.encode("a</s>b").ids == original.encode("a</s>b").ids
    assert ours.decode([1, 2]) == ""
    texts = gguf_texts(Fields(metadata(original, model="gpt2"), "x"), DECODER, Given())
    assert texts.special_tokens == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    assert texts.generation == {"bos_token_id": 1, "eos_token_id": 2}


def test_a_folder_keeps_its_texts(tmp_path: Path) -> None:
    source = copied("llama3", tmp_path)
    tokenizer = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "b": 47}, "merges": []}}
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = {"chat_template": "{{ messages }}", "bos_token": {"content": "<s>"}, "eos_token": "</s>", "x": None}
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    generation = {"eos_token_id": [2, 5], "do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.9, "cache": 1}
    (source / "generation_config.json").write_text(json.dumps(generation))
    values = converted(source, tmp_path / "out")
    assert values["eos_token_id"] == [2, 5]
    texts = [path for path in (tmp_path / "out").iterdir() if path.suffix != ".safetensors"]
    read = {path.name: path.read_text("utf-8") for path in texts}
    assert json.loads(read["tokenizer.json"]) == tokenizer
    assert read["chat_template.jinja"] == "{{ messages }}"
    assert json.loads(read["tokenizer_config.json"]) == {"bos_token": "<s>", "eos_token": "</s>"}
    del generation["cache"]
    assert json.loads(read["generation_config.json"]) == generation


def test_named_templates_and_files_given(tmp_path: Path) -> None:
    source = copied("llama3", tmp_path)
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]
    (source / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert open_source(source, Given()).texts.chat_template == "yes"
    (source / "chat_template.jinja").write_text("file")
    assert open_source(source, Given()).texts.chat_template == "file"
    (tmp_path / "own").write_text("own")
    assert open_source(source, Given(chat_template=tmp_path / "own")).texts.chat_template == "own"
    with pytest.raises(Refused, match="gone: No such file"):
        open_source(source, Given(chat_template=tmp_path / "gone"))


def test_a_sentencepiece_model_is_kept(tmp_path: Path) -> None:
    source = copied("llama3", tmp_path)
    (source / "tokenizer.model").write_bytes(b"\x0a\x01")
    assert open_source(source, Given()).texts.tokenizer == {"tokenizer.model": b"\x0a\x01"}


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("tokenizer.json", '{"model": {"vocab": {"a": 48}}}', "id of a token is 48; allowed: 0 to 47"),
        ("tokenizer.json", '{"model": {"vocab": {"a": "0"}}}', "id of a token"),
        ("tokenizer.json", "{}", '"model" is missing'),
        ("tokenizer_config.json", '{"chat_template": 3}', '"chat_template" is 3'),
        ("tokenizer_config.json", '{"eos_token": [1]}', '"eos_token"'),
        ("generation_config.json", '{"do_sample": true, "top_p": 1.5}', '"top_p" is 1.5; allowed: a number above 0'),
        ("generation_config.json", '{"do_sample": true, "min_p": -0.1}', '"min_p" is -0.1; allowed: a number from 0'),
        ("generation_config.json", '{"eos_token_id": [48]}', "eos_token_id"),
    ],
)
def test_refused(file: str, content: str, message: str, tmp_path: Path) -> None:
    source = copied("llama3", tmp_path)
    (source / file).write_text(content)
    with pytest.raises(Refused, match=message):
        open_source(source, Given())


def test_special_files_are_not_read(tmp_path: Path) -> None:
    source = copied("llama3", tmp_path)
    (source / "generation_config.json").unlink()
    (source / "generation_config.json").symlink_to("/dev/zero")
    with pytest.raises(Refused, match="no regular file"):
        open_source(source, Given())
    (source / "generation_config.json").unlink()
    change(source / "config.json", {})
    open_source(source, Given())
