"""Numbers as integers in blocks, by the rules of docs/model.md, "Weights in blocks": the server's own, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .elements import Bytes, Floats

BLOCK = 32
_MOST_OF_F16 = np.float32(65504)
_TRIES, _STEP = 8, np.float32(0.125)

Columns = npt.NDArray[np.float32]  # [blocks, 1]


@dataclass(frozen=True)
class Quantised:
    """Rows of a weight: codes as bytes, and for each block a float16."""

    codes: Bytes
    scales: Bytes
    minima: Bytes | None = None


def largest(kind: str) -> float:
    """Numbers farther from 0 have no float16 scale."""
    return float(_MOST_OF_F16) * (127 if kind == "int8" else 7)


def quantised(rows: Floats, kind: str) -> Quantised:
    """Finite rows of whole blocks, none of their numbers above largest()."""
    count = rows.shape[0]
    x = np.ascontiguousarray(rows, np.float32).reshape(-1, BLOCK)
    extreme = np.take_along_axis(x, np.abs(x).argmax(axis=1)[:, None], axis=1)
    least, most = (-127, 127) if kind == "int8" else (-8, 7)
    scale = np.abs(extreme) / np.float32(127) if kind == "int8" else _int4_scale(x, extreme)
    halves = np.clip(scale, -_MOST_OF_F16, _MOST_OF_F16).astype("<f2")
    multiples = _multiples(x, _inverse(halves.astype(np.float32)), least, most)
    codes = multiples.astype(np.int8).view(np.uint8) if kind == "int8" else _packed((multiples + 8).astype(np.uint8))
    return Quantised(codes.reshape(count, -1), halves.reshape(count, -1).view(np.uint8))


def _multiples(x: Floats, inverse: Columns, least: int, most: int) -> Floats:
    return np.rint(np.clip(x * inverse, np.float32(least), np.float32(most)))


def _inverse(units: Columns) -> Columns:
    """Of 0, 0."""
    return np.divide(np.float32(1), units, out=np.zeros_like(units), where=units != 0)


def _int4_scale(x: Floats, extreme: Columns) -> Columns:
    """Of several ways to round, that which explains most of the numbers' squares, with its best scale. Sums go from
    left to right in float32, so that they are the server's."""
    best, scale = np.zeros_like(extreme), np.zeros_like(extreme)
    for i in range(-_TRIES, _TRIES + 1):
        with np.errstate(all="ignore"):  # of blocks of almost nothing, which become zeros
            inverse = (np.float32(-8) - _STEP * np.float32(i)) / extreme
            multiples = _multiples(x, inverse, -8, 7)
            product, square = np.zeros_like(extreme), np.zeros_like(extreme)
            for j in range(BLOCK):
                product += x[:, j : j + 1] * multiples[:, j : j + 1]
                square += multiples[:, j : j + 1] * multiples[:, j : j + 1]
            better = (square > 0) & (product * product > best * square)
            best = np.where(better, product * product / square, best)
            scale = np.where(better, product / square, scale)
    return scale


def _packed(codes: Bytes) -> Bytes:
    """Two codes in a byte: the first half of a block in the lower, the second in the upper halves."""
    upper: Bytes = codes[:, BLOCK // 2 :] << np.uint8(4)
    return codes[:, : BLOCK // 2] | upper
