"""Chat templates render here as in the Python library Jinja2, with the settings of the library transformers."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import jinja2
import pytest
from conftest import BIN, ROOT
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

TEMPLATES = sorted((ROOT / "tests" / "data" / "chat_templates").glob("*.jinja"))
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>"}
ROLES = ["system", "user", "assistant", "tool", "été", "<|im_end|>", ""]
PARTS = [
    "Hello",
    " ",
    "\n",
    "\n\n",
    "\t",
    "\u00a0",
    "\u3000",
    "\x1f",
    "a",
    "e",
    "<",
    ">",
    "<|im_end|>",
    "<|im_start|>system\n",
    "</think>",
    "<think>",
    "<tool_response>",
    "{{ 7 * 7 }}",
    "{% for %}",
    "{#",
    "'",
    '"',
    "\\",
    "é",
    "É",
    "日本",
    "😀",
    "</s>",
    "\r\n",
    "\x00",
    "don't stop",
]
FRIDAY = datetime(2024, 7, 26, 12, 34, 56)

Messages = list[dict[str, str]]


class Generation(Extension):
    """The tag by which training finds answers."""

    tags: ClassVar[set[str]] = {"generation"}

    def parse(self, parser: Parser) -> list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def tojson(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def environment() -> jinja2.Environment:
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = FRIDAY.strftime
    return made


def expected(template: str, messages: Messages) -> str | None:
    """What Jinja2 makes of it; nothing where it fails."""
    try:
        return (
            environment()
            .from_string(template)
            .render(messages=messages, add_generation_prompt=True, tools=None, documents=None, **SPECIALS)
        )
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError):
        return None


def answers(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lines = "".join(json.dumps({"specials": SPECIALS, **request}) + "\n" for request in requests)
    done = subprocess.run([BIN / "render_chats"], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def conversations() -> list[Messages]:
    usual = ["system", "user", "assistant", "user", "assistant", "user"]
    ordinary = [
        [{"role": role, "content": f"{role} says {i}."} for i, role in enumerate(usual[begin:end])]
        for begin, end in itertools.combinations(range(len(usual) + 1), 2)
    ]
    generator = random.Random(18)
    hostile = [
        [
            {"role": generator.choice(ROLES), "content": "".join(generator.choices(PARTS, k=generator.randrange(9)))}
            for _ in range(generator.randrange(1, 6))
        ]
        for _ in range(150)
    ]
    return ordinary + hostile


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.stem)
def test_published_shapes_render_as_in_jinja2(file: Path) -> None:
    template = file.read_text("utf-8")
    rendered = 0
    requests = [{"template": template, "messages": messages} for messages in conversations()]
    for request, answer in zip(requests, answers(requests), strict=True):
        wanted = expected(template, request["messages"])
        rendered += wanted is not None
        assert answer.get("text") == wanted, (request["messages"], answer)
    assert rendered > 0


STATEMENTS = ["{% for m in messages %}", "{% if x %}", "{% if true %}", "{% else %}", "{% endif %}", "{% endfor %}"]
TEXTS = [" ", "  ", "\n", "\n\n", "\t", "text", "{{ m }}", "{{- 1 }}", "{{ 2 -}}", "{# c #}", "{#- c -#}", "\n  "]


def with_sign(tag: str, generator: random.Random) -> str:
    return "{%" + generator.choice(["", "", "-", "+"]) + tag[2:-2] + generator.choice(["", "", "-", "+"]) + "%}"


def test_white_space_around_random_tags() -> None:
    generator = random.Random(7)
    pieces = [*STATEMENTS, *TEXTS, *TEXTS]
    templates = [
        "".join(
            with_sign(piece, generator) if piece.startswith("{%") else piece
            for piece in generator.choices(pieces, k=generator.randrange(1, 14))
        )
        for _ in range(4000)
    ]
    messages = [{"role": "user", "content": "hi"}]
    compared = 0
    for template, answer in zip(templates, answers([{"template": t, "messages": messages} for t in templates])):
        wanted = expected(template.replace("{{ m }}", "{{ m.role }}"), messages)
        if wanted is None:
            assert "error" in answer or "{{ m }}" in template, template
        elif "{{ m }}" not in template:
            compared += 1
            assert answer.get("text") == wanted, template
    assert compared > 500


VALUES = ["1", "0", "-2", "'a'", "''", "'ab'", "none", "true", "[]", "[1, 'a']", "{'a': 1}", "missing", "messages"]
OPERATORS = ["+", "-", "*", "//", "%", "~", "==", "!=", "<", ">=", "in", "not in", "and", "or"]
ENDINGS = ["|string", "|length", "|list|length", "|first", "|trim", "|upper", " is string", " is defined", "[0]"]


def test_random_expressions() -> None:
    generator = random.Random(5)

    def expression(depth: int) -> str:
        kind = generator.randrange(7) if depth > 0 else 0
        if kind < 2:
            return generator.choice(VALUES)
        if kind == 2:
            return f"(({expression(depth - 1)}){generator.choice(ENDINGS)})"
        if kind == 3:
            return f"not {expression(depth - 1)}"
        if kind == 4:
            return f"({expression(depth - 1)} if {expression(depth - 1)} else {expression(depth - 1)})"
        return f"{expression(depth - 1)} {generator.choice(OPERATORS)} {expression(depth - 1)}"

    templates = [f"{{{{ ({expression(3)}) is defined }}}}" for _ in range(6000)]
    templates += [f"{{{{ ({expression(3)})|tojson }}}}" for _ in range(6000)]
    messages = [{"role": "user", "content": "hi"}]
    compared = 0
    for template, answer in zip(templates, answers([{"template": t, "messages": messages} for t in templates])):
        wanted = expected(template, messages)
        if wanted is None:
            assert "error" in answer, template
        elif "error" not in answer:
            compared += 1
            assert answer["text"] == wanted, template
        else:  # what Python prints, multiplies and compares more of than templates need
            assert "allowed: " in answer["error"], (template, answer)
    assert compared > 5000


def test_messages_stay_messages() -> None:
    """Whatever a published template does, the control tokens in a user's text are not its own."""
    template = next(file for file in TEMPLATES if file.stem == "smollm2_instruct").read_text("utf-8")
    messages = [{"role": "user", "content": "a<|im_end|>b"}]
    (answer,) = answers([{"template": template, "messages": messages, "after_answer": True}])
    text = answer["text"].encode()
    assert text == b"<|im_end|>\n<|im_start|>user\na<|im_end|>b<|im_end|>\n<|im_start|>assistant\n"
    written = [text[begin:end] for begin, end in answer["written"]]
    assert written == [b"<|im_end|>\n<|im_start|>", b"\n", b"<|im_end|>\n<|im_start|>assistant\n"]
