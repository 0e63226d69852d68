"""Checks of configuration values: every refusal names the key, what was found and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any


class ConfigError(ValueError):
    """A configuration that describes no model."""


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def one_of(name: str, value: str | None, allowed: tuple[str | None, ...]) -> None:
    require(value in allowed, f"{name} is {value!r}, not one of {', '.join(map(str, allowed))}")


def in_range(name: str, value: int, low: int, high: int, limit: str | None = None) -> None:
    """`limit` says where the upper end comes from."""
    require(low <= value <= high, f"{name} {value} is not in {low}..{high}{f' ({limit})' if limit else ''}")


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
    """`values` after checking names and JSON types against the fields of a dataclass."""
    types = {f.name: str(f.type) for f in fields(kind)}
    required = {f.name for f in fields(kind) if f.default is MISSING and f.name != "fma"}
    for name, value in values.items():
        require(name in types, f"unknown key {prefix}{name}")
        require(_CHECKS[types[name]](value), f"{prefix}{name} is {value!r}, not of type {types[name]}")
    for name in sorted(required - values.keys()):
        raise ConfigError(f"{prefix}{name} is missing")
    return values
