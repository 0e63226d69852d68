"""Numbers as integers in blocks, by the rules of docs/model.md, "Weights in blocks": the server's own, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .elements import Bytes, Floats

BLOCK = 32
MOST_OF_F16 = np.float32(65504)
_TRIES, _STEP = 8, np.float32(0.125)
_LANES = 8

Columns = npt.NDArray[np.float32]  # [blocks, 1]


@dataclass(frozen=True)
class Quantised:
    """Rows of a weight: codes as bytes, and for each block a float16."""

    codes: Bytes
    scales: Bytes
    minima: Bytes | None = None


def largest(kind: str, has_minima: bool = False) -> float:
    """Numbers farther from 0 have no float16 scale, or no minimum."""
    return float(MOST_OF_F16) * (1 if has_minima else 127 if kind == "int8" else 7)


def quantised(rows: Floats, kind: str) -> Quantised:
    """Finite rows of whole blocks, none of their numbers above largest(); int4 has no minima."""
    count = rows.shape[0]
    x = np.ascontiguousarray(rows, np.float32).reshape(-1, BLOCK)
    scales, multiples = _int8(x) if kind == "int8" else int4(x)
    codes = multiples.astype(np.int8).view(np.uint8) if kind == "int8" else packed(multiples + 8)
    return Quantised(codes.reshape(count, -1), halves(scales, count))


def packed(codes: Floats) -> Bytes:
    """Two codes of 0..15 in a byte: the first half of a block in the lower, the second in the upper halves."""
    small = codes.astype(np.uint8)
    upper: Bytes = small[:, BLOCK // 2 :] << np.uint8(4)
    return small[:, : BLOCK // 2] | upper


def halves(numbers: Columns, count: int) -> Bytes:
    """Those of `count` rows as float16."""
    return numbers.astype("<f2").reshape(count, -1).view(np.uint8)


def inverse(units: Columns) -> Columns:
    """Of 0, 0."""
    return np.divide(np.float32(1), units, out=np.zeros_like(units), where=units != 0)


def as_halves(numbers: Columns) -> Columns:
    """What they are in float16, which they are cut to."""
    return np.clip(numbers, -MOST_OF_F16, MOST_OF_F16).astype(np.float16).astype(np.float32)


def _int8(x: Floats) -> tuple[Columns, Floats]:
    """Scales, and the integers that they are multiplied by."""
    scales = as_halves(np.divide(np.abs(_extremes(x)), np.float32(127)))
    return scales, _multiples(x, inverse(scales), -127, 127)


def int4(x: Floats) -> tuple[Columns, Floats]:
    """Scales, and the integers -8..7 that they are multiplied by."""
    scales = as_halves(_int4_scale(x, _extremes(x)))
    return scales, _multiples(x, inverse(scales), -8, 7)


def _extremes(x: Floats) -> Columns:
    """The number of each block that is farthest from 0."""
    return np.take_along_axis(x, np.abs(x).argmax(axis=1)[:, None], axis=1)


def _multiples(x: Floats, inverses: Columns, least: int, most: int) -> Floats:
    return np.rint(np.clip(x * inverses, np.float32(least), np.float32(most)))


def _int4_scale(x: Floats, extreme: Columns) -> Columns:
    """Of several ways to round, that which explains most of the numbers' squares, with its best scale."""
    best, scale = np.zeros_like(extreme), np.zeros_like(extreme)
    for i in range(-_TRIES, _TRIES + 1):
        with np.errstate(all="ignore"):  # of blocks of almost nothing, which become zeros
            inverses = (np.float32(-8) - _STEP * np.float32(i)) / extreme
            multiples = _multiples(x, inverses, -8, 7)
            product, square = block_sums(x * multiples), block_sums(multiples * multiples)
            better = (square > 0) & (product * product > best * square)
            best = np.where(better, product * product / square, best)
            scale = np.where(better, product / square, scale)
    return scale


def block_sums(x: Floats) -> Columns:
    """Sums of blocks in float32, in the server's order: of every eighth, then each four, two and one to the others."""
    sums = x[:, :_LANES].copy()
    for first in range(_LANES, BLOCK, _LANES):
        sums += x[:, first : first + _LANES]
    while sums.shape[1] > 1:
        half = sums.shape[1] // 2
        sums = sums[:, :half] + sums[:, half:]
    return sums
