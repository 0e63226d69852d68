"""The one error of the converter. Every message says where, what was found and what is allowed."""

from __future__ import annotations

import json
from typing import Any

_EXCERPT = 80


class Refused(ValueError):
    """What the user's files or options hold cannot be converted; the message is for the user."""


def refusal(what: str, found: str, allowed: str) -> Refused:
    """`found` is in our words; foreign text goes through `shown` first."""
    return Refused(f"{what} is {found}; allowed: {allowed}")


def shown(value: Any) -> str:
    """A foreign value as JSON, in ASCII and cut."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= _EXCERPT else text[:_EXCERPT] + "..."
