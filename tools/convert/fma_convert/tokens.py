"""Ids of special tokens."""

from __future__ import annotations

from .fields import Fields
from .refusal import shown


def token_ids(fields: Fields, key: str, vocab_size: int) -> list[int]:
    """An id or a list of ids, all below V; none when the key is absent. -1 stands for none, as some files have it."""
    value = fields.get(key)
    ids = value if isinstance(value, list) else [] if value in (None, -1) else [value]
    if not all(type(i) is int and 0 <= i < vocab_size for i in ids):
        raise fields.refuse(key, shown(value), f"an id from 0 to {vocab_size - 1}, a list of ids, or null")
    return ids


def id_or_list(ids: list[int]) -> int | list[int] | None:
    """As our config.json has it."""
    return None if not ids else ids[0] if len(ids) == 1 else ids
