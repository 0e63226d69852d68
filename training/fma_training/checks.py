"""Refusals in the grammar of the server, "WHAT is FOUND; allowed: ALLOWED", and checks of configuration values."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any


class ConfigError(ValueError):
    """A configuration that does not describe a model."""


class Words(str):
    """Our own words in place of a value: Words("missing")."""


def refusal(what: str, found: Any, allowed: str) -> str:
    """The message of a refusal; `found` is Words, or a value as JSON has it."""
    shown = found if isinstance(found, Words) else json.dumps(found, default=repr)
    return f"{what} is {shown}; allowed: {allowed}"


def require(condition: bool, name: str, found: Any, allowed: str) -> None:
    if not condition:
        raise ConfigError(refusal(name, found, allowed))


def one_of(name: str, value: str | None, allowed: tuple[str | None, ...]) -> None:
    require(value in allowed, name, value, ", ".join("null" if item is None else item for item in allowed))


def in_range(name: str, value: int, low: int, high: int, limit: str | None = None) -> None:
    """`limit` says where the upper end comes from."""
    require(low <= value <= high, name, value, f"{low} to {high}{f' ({limit})' if limit else ''}")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_integer(value) or isinstance(value, float)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "int": _is_integer,
    "float": _is_number,
    "bool": lambda v: isinstance(v, bool),
    "str": lambda v: isinstance(v, str),
    "int | None": lambda v: v is None or _is_integer(v),
    "str | None": lambda v: v is None or isinstance(v, str),
    "list[int] | None": lambda v: v is None or (isinstance(v, list) and all(map(_is_integer, v))),
    "list[float] | None": lambda v: v is None or (isinstance(v, list) and all(map(_is_number, v))),
    "int | list[int] | None": lambda v: v is None or all(_is_integer(i) for i in (v if isinstance(v, list) else [v])),
}


def typed(kind: type, values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Returns `values` after checking their names and JSON types against the fields of a dataclass."""
    types = {f.name: str(f.type) for f in fields(kind)}
    required = {f.name for f in fields(kind) if f.default is MISSING and f.name != "fma"}
    for name, value in values.items():
        require(name in types, prefix + name, Words("an unknown key"), ", ".join(sorted(types)))
        require(_CHECKS[types[name]](value), prefix + name, value, types[name])
    for name in sorted(required - values.keys()):
        require(False, prefix + name, Words("missing"), types[name])
    return values
