"""Integers of 4 bits in blocks with a minimum, by the rules of docs/model.md, "Weights in blocks": the server's own,
bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .elements import Floats
from .quantise import BLOCK, Columns, Quantised, as_halves, block_sums, halves, int4, inverse, largest, packed

_FEWEST_STEPS, _MOST_CODE = 8, 15
_LEAST_RANGE = np.float32(2**-24)


@dataclass(frozen=True)
class Blocks:
    """Codes [blocks, BLOCK]; scales and minima [blocks, 1]."""

    codes: Floats
    scales: Columns
    minima: Columns

    def errors(self, x: Floats) -> Columns:
        """The squared error of each."""
        off = x - (self.scales * self.codes + self.minima)
        return block_sums(off * off)


def quantised_with_minima(rows: Floats) -> Quantised:
    """Finite rows of whole blocks, none of their numbers above largest()."""
    count = len(rows)
    found = with_minima(np.ascontiguousarray(rows, np.float32).reshape(-1, BLOCK))
    return Quantised(packed(found.codes).reshape(count, -1), halves(found.scales, count), halves(found.minima, count))


def with_minima(x: Floats) -> Blocks:
    """Of several numbers of steps between the least and the largest number, that whose line has the least squared
    error. Numbers that were 4 bits with a minimum before are met by one of them."""
    low = x.min(axis=1, keepdims=True) + np.float32(0)  # no zero has a sign
    reach, above = x.max(axis=1, keepdims=True) - low, x - low
    scales, minima, least = np.zeros_like(low), low, np.full_like(low, np.inf)
    for steps in range(_FEWEST_STEPS, _MOST_CODE + 1):
        with np.errstate(all="ignore"):  # of blocks of equal numbers
            codes = np.rint(above * (np.float32(steps) / reach))
            scale, start = _line(above, codes)
            off = above - (scale * codes + start)
            errors = block_sums(off * off)
            better = (reach >= _LEAST_RANGE) & (errors < least)
        least = np.where(better, errors, least)
        scales, minima = np.where(better, scale, scales), np.where(better, low + start, minima)
    scales, minima = as_halves(scales), as_halves(minima)
    codes = np.rint(np.clip((x - minima) * inverse(scales), np.float32(0), np.float32(_MOST_CODE)))
    return Blocks(codes, scales, minima)


def minima_pay(x: Floats) -> bool:
    """Whether minima take more than half of the squared error, which they do where numbers had some before."""
    if float(np.abs(x).max(initial=0)) > largest("int4", has_minima=True):
        return False
    scales, codes = int4(x)
    plain = Blocks(codes, scales, np.zeros_like(scales)).errors(x)
    return bool(with_minima(x).errors(x).sum(dtype=np.float64) < plain.sum(dtype=np.float64) / 2)


def _line(above: Floats, codes: Floats) -> tuple[Columns, Columns]:
    """Scale and start of the line of least squares through numbers over codes."""
    count = np.float32(BLOCK)
    codes_sum, squares = block_sums(codes), block_sums(codes * codes)
    total, products = block_sums(above), block_sums(above * codes)
    scale = np.divide(count * products - total * codes_sum, count * squares - codes_sum * codes_sum)
    return scale, np.divide(total - scale * codes_sum, count)
