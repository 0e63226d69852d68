"""The shape of the far field: what a session costs, and the shape that fits a cost.

m, p, L, s, C, B, u are the symbols of docs/model.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .decoder import Decoder
from .refusal import refusal

DEFAULT_NEAR = 256
DEFAULT_TOKENS = 1 << 20
DEFAULT_SINKS = 4
DEFAULT_OPEN_UNITS = 16
DEFAULT_OPEN_SIZE = 32
MAX_OPEN_UNITS = 1 << 16
MAX_NEAR = 4096
_MAX_LEVELS = 40
_LONG_DISTANCE = 8192
_STEP = 32  # near fields that are chosen here are multiples of it
_NEAR_MARKS, _FAR_MARKS = 8, 20  # bytes: attention received; with it position and novelty


@dataclass(frozen=True)
class CacheType:
    """How a cache keeps keys and values; all in bytes."""

    number: int
    scale: int = 0  # of each key and value
    sketch_number: int = 2

    def vector(self, decoder: Decoder) -> int:
        return decoder.head_dim * self.number + self.scale


CACHE_TYPES = {"f32": CacheType(4, sketch_number=4), "bf16": CacheType(2), "int8": CacheType(1, scale=2)}


@dataclass(frozen=True)
class FarField:
    near: int  # m
    rank: int  # p
    levels: int  # L
    sinks: int  # s
    novel: int | None  # None: half of the rank
    max_distance: int  # C; 0: none
    open_units: int  # B; 0: there is no archive
    open_size: int  # u

    @property
    def horizon(self) -> int:
        """Older tokens are out of view."""
        return 4 * self.near << (self.levels - 1)

    @property
    def entries(self) -> int:
        """What a state keeps of tokens, for a layer and KV head."""
        return 2 * self.near + self.sinks + 2 * self.rank * self.levels

    def session_bytes(self, decoder: Decoder, cache: CacheType) -> int:
        """About what the server needs for one session."""
        vectors = 2 * cache.vector(decoder) * self.entries
        marks = 2 * self.near * _NEAR_MARKS + 2 * self.rank * self.levels * _FAR_MARKS
        sketches = self._groups_in_place() * self._group_sketches(decoder, cache)
        return decoder.num_layers * decoder.num_kv_heads * (vectors + marks + sketches)

    def archive_bytes(self, decoder: Decoder, tokens: int, cache: CacheType) -> int:
        """What a session's archive takes after `tokens` tokens, exactly: keys, values and sketches of whole groups that
        have left the near field."""
        if self.open_units == 0:
            return 0
        group = 2 * cache.vector(decoder) * self.near + self._group_sketches(decoder, cache)
        return max(0, tokens // self.near - 1) * decoder.num_layers * decoder.num_kv_heads * group

    def _groups_in_place(self) -> int:
        """Of the newest archived groups, whose sketches a session has in the form of their places too."""
        return self.max_distance // self.near - 2 if self.open_units and self.max_distance else 0

    def _group_sketches(self, decoder: Decoder, cache: CacheType) -> int:
        number = cache.sketch_number
        numbers = (2 * decoder.head_dim + self.open_size) * number
        codes = -(-decoder.head_dim // 4) * self.open_size
        return self.near // self.open_size * -(-(numbers + codes) // number) * number

    def config(self) -> dict[str, Any]:
        """The object `fma` of config.json."""
        values = {
            "group_size": self.near,
            "rank": self.rank,
            "num_levels": self.levels,
            "downsampling": "select",
            "scale_far_field": False,
            "padding": "masked",
            "sink_tokens": self.sinks,
            "far_positions": "own",
            "select_novel": self.novel,
            "max_distance": self.max_distance or None,
            "open_units": self.open_units or None,
            "open_size": self.open_size if self.open_units else None,
        }
        return {key: value for key, value in values.items() if value is not None}


def full_cache_bytes(decoder: Decoder, tokens: int, cache: CacheType) -> int:
    """An ordinary cache of keys and values."""
    return 2 * cache.vector(decoder) * decoder.num_layers * decoder.num_kv_heads * tokens


@dataclass(frozen=True)
class Wishes:
    """What the user asked for; None: choose."""

    near: int | None = None
    rank: int | None = None
    max_tokens: int = DEFAULT_TOKENS
    session_memory: int | None = None
    sinks: int = DEFAULT_SINKS
    novel: int | None = None
    max_distance: int | None = None
    cache: str = "f32"
    open_units: int = DEFAULT_OPEN_UNITS
    open_size: int | None = None


def choose(wishes: Wishes, decoder: Decoder) -> FarField:
    reach = _reach(wishes, decoder)
    limit = min(MAX_NEAR, reach // 4) if reach else MAX_NEAR
    if not 0 <= wishes.sinks < limit:
        raise refusal("--sinks", str(wishes.sinks), f"0 to {limit - 1}")
    if wishes.session_memory is not None:
        return _largest(wishes, decoder, limit)
    near = min(DEFAULT_NEAR, limit) if wishes.near is None else wishes.near
    if not wishes.sinks < near <= limit:
        why = "" if limit == MAX_NEAR else f", a quarter of the greatest distance ({reach})"
        raise refusal("--near", str(near), f"{wishes.sinks + 1} to {limit}{why}")
    rank = _half(near, wishes.sinks) if wishes.rank is None else wishes.rank
    return _shape(wishes, decoder, near, rank)


def _reach(wishes: Wishes, decoder: Decoder) -> int:
    """The greatest distance at which a token may be met; 0: any."""
    if wishes.max_distance is None:
        return decoder.trained_distance
    if decoder.window is not None and not 0 < wishes.max_distance <= decoder.window:
        allowed = f"1 to {decoder.window}, the window of the model's attention"
        raise refusal("--max-distance", str(wishes.max_distance), allowed)
    return wishes.max_distance


def _half(near: int, sinks: int) -> int:
    return max(1, min(near // 2, near - sinks))


def _shape(wishes: Wishes, decoder: Decoder, near: int, rank: int) -> FarField:
    if not 1 <= rank <= near - wishes.sinks:
        raise refusal("--rank", str(rank), f"1 to {near - wishes.sinks}, what {wishes.sinks} sinks leave of --near")
    if wishes.novel is not None and not 0 <= wishes.novel <= rank:
        raise refusal("--novel", str(wishes.novel), f"0 to {rank}, the rank")
    levels = 1 + max(0, (-(-wishes.max_tokens // (4 * near)) - 1).bit_length())
    if levels > _MAX_LEVELS:
        most = 4 * near << (_MAX_LEVELS - 1)
        raise refusal("--max-tokens", str(wishes.max_tokens), f"up to {most} with --near {near}")
    distance = _distance(decoder, near) if wishes.max_distance is None else wishes.max_distance
    units = wishes.open_units
    if not 0 <= units <= MAX_OPEN_UNITS:
        raise refusal("--open-units", str(units), f"0 (no archive) to {MAX_OPEN_UNITS}")
    return FarField(near, rank, levels, wishes.sinks, wishes.novel, distance, units, _open_size(wishes, near))


def _distance(decoder: Decoder, near: int) -> int:
    """Up to three quarters of the trained distance models recall well (docs/quality.md). But a session has the sketches
    of so many tokens, so it is three eighths where that is long."""
    trained = decoder.trained_distance
    return max(3 * trained // 8, min(3 * trained // 4, _LONG_DISTANCE), 4 * near)


def _open_size(wishes: Wishes, near: int) -> int:
    if wishes.open_size is None:
        return max(size for size in range(1, min(near, DEFAULT_OPEN_SIZE) + 1) if near % size == 0)
    if not 1 <= wishes.open_size <= near or near % wishes.open_size:
        raise refusal("--open-size", str(wishes.open_size), f"a divisor of the near field, {near}")
    return wishes.open_size


def _largest(wishes: Wishes, decoder: Decoder, limit: int) -> FarField:
    """The largest near field that fits with half of it as rank; at the limit what is left goes into the rank."""
    first = min(_STEP, limit)
    shapes = [_shape(wishes, decoder, m, _half(m, wishes.sinks)) for m in range(first, limit + 1, _STEP)]
    largest = shapes[-1].near
    shapes += [_shape(wishes, decoder, largest, p) for p in range(shapes[-1].rank + 1, largest - wishes.sinks + 1)]
    cache = CACHE_TYPES[wishes.cache]
    fitting = [shape for shape in shapes if shape.session_bytes(decoder, cache) <= (wishes.session_memory or 0)]
    if fitting:
        return fitting[-1]
    least = shapes[0].session_bytes(decoder, cache)
    allowed = f"at least {least} bytes for this model ({wishes.cache})"
    raise refusal("--session-memory", str(wishes.session_memory), allowed)
