"""What goes with the weights: tokenizer, chat template, texts of special tokens, generation defaults."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .fields import Fields, parse_object
from .refusal import Refused, refusal, shown
from .source_file import read_whole
from .tokens import id_or_list, token_ids

TOKENIZER_JSON = "tokenizer.json"
SENTENCEPIECE = "tokenizer.model"
CHAT_TEMPLATE = "chat_template.jinja"
TOKENIZER_CONFIG = "tokenizer_config.json"
GENERATION_CONFIG = "generation_config.json"
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")
_MAX_TOKENIZER = 256 << 20
_MAX_CONFIG = 16 << 20
_MAX_TEMPLATE = 1 << 20
# Settings of generation that the server has: the ends of their ranges, and whether the lower one is allowed.
_SAMPLING = {
    "temperature": (0.0, 100.0, True),
    "top_p": (0.0, 1.0, False),
    "min_p": (0.0, 1.0, True),
    "repetition_penalty": (0.01, 100.0, True),
}


@dataclass(frozen=True)
class Texts:
    tokenizer: dict[str, bytes] = field(default_factory=dict)  # one file by name, or none
    chat_template: str | None = None
    special_tokens: dict[str, str] = field(default_factory=dict)  # bos_token and so on: what templates spell
    generation: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        for name, content in self.tokenizer.items():
            (folder / name).write_bytes(content)
        if self.chat_template is not None:
            (folder / CHAT_TEMPLATE).write_text(self.chat_template, "utf-8", newline="")
        for name, values in ((TOKENIZER_CONFIG, self.special_tokens), (GENERATION_CONFIG, self.generation)):
            if values:
                (folder / name).write_text(json.dumps(values, indent=2) + "\n", "utf-8")


@dataclass(frozen=True)
class Given:
    """Files that take the place of the source's own, which are then not looked at."""

    tokenizer: Path | None = None
    chat_template: Path | None = None


def folder_texts(folder: Path, vocab_size: int, given: Given) -> Texts:
    """The texts of a Hugging Face folder."""
    config = _optional_object(folder / TOKENIZER_CONFIG)
    template = given.chat_template or folder / CHAT_TEMPLATE
    return Texts(
        tokenizer=_folder_tokenizer(folder, vocab_size, given),
        chat_template=read_template(template)
        if given.chat_template or template.exists()
        else _template_of_config(config),
        special_tokens={name: text for name in SPECIAL_TOKENS if (text := _token_text(config, name)) is not None},
        generation=_generation(_optional_object(folder / GENERATION_CONFIG), vocab_size),
    )


def read_tokenizer(path: Path, vocab_size: int) -> bytes:
    """A tokenizer.json as it is, once it is known to be one whose ids fit the model."""
    content = read_whole(path, _MAX_TOKENIZER)
    model = Fields(parse_object(content, str(path)), str(path)).child("model")
    if model is None:
        raise refusal(f'{path}: "model"', "missing", "an object")
    vocab = model.get("vocab")
    ids = vocab.values() if isinstance(vocab, dict) else range(len(vocab)) if isinstance(vocab, list) else ()
    for token in ids:
        if type(token) is not int or not 0 <= token < vocab_size:
            raise refusal(f"{path}: id of a token", shown(token), f"0 to {vocab_size - 1}, the model's vocabulary")
    return content


def read_template(path: Path) -> str:
    return _template(read_whole(path, _MAX_TEMPLATE), str(path))


def checked_template(text: str, where: str) -> str:
    if len(text.encode("utf-8", "surrogatepass")) > _MAX_TEMPLATE:
        raise refusal(f"{where}: size", f"{len(text)} characters", f"at most {_MAX_TEMPLATE} bytes")
    return _template(text.encode("utf-8", "surrogatepass"), where)


def _template(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refusal(where, "not UTF-8", "UTF-8") from error


def _folder_tokenizer(folder: Path, vocab_size: int, given: Given) -> dict[str, bytes]:
    file = given.tokenizer or folder / TOKENIZER_JSON
    if given.tokenizer or file.exists():
        return {TOKENIZER_JSON: read_tokenizer(file, vocab_size)}
    if (folder / SENTENCEPIECE).exists():
        return {SENTENCEPIECE: read_whole(folder / SENTENCEPIECE, _MAX_TOKENIZER)}
    return {}


def _optional_object(path: Path) -> Fields:
    return Fields(parse_object(read_whole(path, _MAX_CONFIG), str(path)) if path.exists() else {}, str(path))


def _template_of_config(config: Fields) -> str | None:
    """A text, or a list of {name, template} of which "default" is the one for chats."""
    value = config.get("chat_template")
    if isinstance(value, list):
        named = [Fields(x, f"{config.where}: chat_template") for x in value if isinstance(x, dict)]
        value = next((x.text("template") for x in named if x.get("name") == "default"), None)
    if value is None:
        return None
    if not isinstance(value, str):
        raise config.refuse("chat_template", shown(value), 'a text, or a list with one of the name "default"')
    return checked_template(value, f"{config.where}: chat_template")


def _token_text(config: Fields, name: str) -> str | None:
    """A text, or an object with the text in `content`."""
    value = config.get(name)
    text = value.get("content") if isinstance(value, dict) else value
    if text is not None and not isinstance(text, str):
        raise config.refuse(name, shown(value), "a text, or an object with a content")
    return text


def _generation(config: Fields, vocab_size: int) -> dict[str, Any]:
    """Only what the server knows. Without sampling (do_sample false) the rest of the values means nothing."""
    values: dict[str, Any] = {}
    if config.boolean("do_sample", False):
        values["do_sample"] = True
        for key, (low, high, closed) in _SAMPLING.items():
            if config.get(key) is not None:
                values[key] = config.number(key, low, high, closed=closed)
        if config.get("top_k") is not None:
            values["top_k"] = config.integer("top_k", 0, 1 << 24)
    for key in ("bos_token_id", "eos_token_id"):
        ids = token_ids(config, key, vocab_size)
        if ids:
            values[key] = id_or_list(ids)
    return values


def refuse_pickles(folder: Path, names: list[str]) -> None:
    """For a folder without safetensors."""
    pickles = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl"))]
    if pickles:
        raise refusal(
            f"{folder}: weights", f"{shown(pickles[0])}, a pickle, which may run code when it is loaded", "safetensors"
        )
    raise Refused(f"{folder}: model.safetensors and model.safetensors.index.json are missing")
