"""JSON from elsewhere, and the members of its objects by type and range."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from .refusal import Refused, refusal, shown

_MAX_DEPTH = 64


def parse_object(text: bytes, where: str) -> dict[str, Any]:
    """A JSON object in UTF-8: every name once in its object, no NaN, nested at most 64 deep."""
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_number)
    except RecursionError as error:
        raise Refused(f"{where}: nested too deep; allowed: {_MAX_DEPTH} levels") from error
    except ValueError as error:
        raise Refused(f"{where}: no JSON: {error}") from error
    if not isinstance(value, dict):
        raise refusal(where, shown(value), "a JSON object")
    _check_depth(value, where)
    return value


class Fields:
    """Members of an object, each asked for by name. null and a missing member are the same; `default` None means that
    the member must be there."""

    def __init__(self, members: dict[str, Any], where: str) -> None:
        self.members, self.where = members, where

    def get(self, key: str) -> Any:
        return self.members.get(key)

    def refuse(self, key: str, found: str, allowed: str) -> Refused:
        return refusal(f'{self.where}: "{key}"', found, allowed)

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        allowed = f"an integer from {low} to {high}"
        value = self._value(key, default, allowed)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise self.refuse(key, shown(value), allowed)

    def number(self, key: str, low: float, high: float, default: float | None = None, closed: bool = False) -> float:
        """`low` itself is allowed when the range is `closed`."""
        allowed = f"a number from {low:g} to {high:g}" if closed else f"a number above {low:g} and up to {high:g}"
        value = self._value(key, default, allowed)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and (low < value <= high or (closed and value == low)):
            return float(value)
        raise self.refuse(key, shown(value), allowed)

    def boolean(self, key: str, default: bool | None = None) -> bool:
        value = self._value(key, default, "true or false")
        if isinstance(value, bool):
            return value
        raise self.refuse(key, shown(value), "true or false")

    def text(self, key: str, default: str | None = None) -> str:
        value = self._value(key, default, "a text")
        if isinstance(value, str):
            return value
        raise self.refuse(key, shown(value), "a text")

    def list_of(self, key: str, kind: type, count: int | None = None) -> list[Any]:
        """Members of exactly that type; an empty list when the key is absent and no count is asked for."""
        value = self.get(key)
        if value is None and count is None:
            return []
        size = "" if count is None else f"{count} "
        if isinstance(value, list) and all(type(x) is kind for x in value) and count in (None, len(value)):
            return value
        raise self.refuse(key, shown(value), f"a list of {size}{kind.__name__}")

    def child(self, key: str) -> Fields | None:
        """The object of a key, if there is one."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.refuse(key, shown(value), "an object")
        return Fields(value, f'{self.where}: "{key}"')

    def _value(self, key: str, default: Any, allowed: str) -> Any:
        value = self.get(key)
        if value is not None:
            return value
        if default is None:
            raise self.refuse(key, "missing", allowed)
        return default


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"{shown(name)} stands twice in an object")
    return values


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _check_depth(value: Any, where: str) -> None:
    level = [value]
    for _ in range(_MAX_DEPTH):
        containers = [x for x in level if isinstance(x, dict | list)]
        level = [y for x in containers for y in (x.values() if isinstance(x, dict) else x)]
        if not level:
            return
    raise Refused(f"{where}: nested too deep; allowed: {_MAX_DEPTH} levels")
