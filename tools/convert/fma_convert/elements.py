"""Numbers as files hold them: plain ones, which our checkpoints hold too, and blocks of quantised ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .refusal import refusal

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

PLAIN = {"F32": 4, "F16": 2, "BF16": 2}  # bytes of a number
WRITTEN = PLAIN | {"I8": 1, "U8": 1}  # bytes of an element; those of U8 are two numbers of 4 bits
_EXPONENT = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}  # all ones in infinities and NaN
# Quantised formats of GGUF that PyPI's gguf dequantises; "_M" and "_S" files mix some of them.
QUANTISED = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS")


@dataclass(frozen=True)
class ElementFormat:
    """`block` numbers take `size` bytes."""

    name: str
    block: int
    size: int

    @property
    def plain(self) -> bool:
        return self.name in PLAIN

    def row_bytes(self, columns: int, where: str) -> int:
        """The bytes of a row of so many numbers; blocks do not cross rows."""
        if columns % self.block:
            raise refusal(f"{where}: row length", str(columns), f"a multiple of {self.block}, a block of {self.name}")
        return columns // self.block * self.size

    def floats(self, raw: Bytes) -> Floats:
        """Numbers [rows, columns] of raw rows [rows, bytes]."""
        if self.name == "F32":
            return raw.view("<f4")
        if self.name == "F16":
            return raw.view("<f2").astype(np.float32)
        if self.name == "BF16":
            return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
        return _dequantised(raw, self.name)


def plain_format(name: str) -> ElementFormat:
    return ElementFormat(name, 1, PLAIN[name])


def gguf_format(number: int, where: str) -> ElementFormat:
    """The format that GGUF gives this number."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType  # only for those who read GGUF

    allowed = (*PLAIN, *QUANTISED)
    names = {int(kind): kind.name for kind in GGMLQuantizationType}
    name = names.get(number, f"number {number}")
    if name not in allowed:
        raise refusal(f"{where}: format", name, ", ".join(allowed))
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType(number)]
    return ElementFormat(name, block, size)


def encoded(x: Floats, name: str) -> Bytes:
    """Raw rows in a plain format, rounded to nearest, of ties to even."""
    if name == "F32":
        plain: npt.NDArray[Any] = x.astype("<f4")
    elif name == "F16":
        with np.errstate(over="ignore"):  # is found by all_finite
            plain = x.astype("<f2")
    else:
        bits = x.astype("<f4").view("<u4")
        plain = ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype("<u2")
    return plain.view(np.uint8)


def count_not_finite(raw: Bytes, name: str) -> int:
    """How many numbers of a plain format are infinite or NaN."""
    bits = raw.view(f"<u{PLAIN[name]}")
    return int(np.count_nonzero((bits & _EXPONENT[name]) == _EXPONENT[name]))


def _dequantised(raw: Bytes, name: str) -> Floats:
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    return dequantize(raw, GGMLQuantizationType[name])
