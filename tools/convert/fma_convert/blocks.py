"""Weights that are written as integers in blocks: codes, scales and perhaps minima, each a tensor of the file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .elements import Bytes, Floats, count_not_finite
from .minima import minima_pay, quantised_with_minima
from .quantise import BLOCK, Quantised, largest, quantised
from .refusal import Refused, refusal
from .tensor import StoredTensor, Tensor, rows_columns

AS_IS = "as-is"
KINDS = ("int8", "int4", AS_IS)
CODES = {"int8": "I8", "int4": "U8"}  # the formats of codes in a file
# GGUF's formats that are kept, and whether their blocks have minima. A block has its scale, its minimum, its codes.
_KEPT = {"Q8_0": ("int8", False), "Q4_0": ("int4", False), "Q4_1": ("int4", True)}
_LARGE = re.compile(r"(.*_proj|model\.embed_tokens|lm_head)\.weight")
_ENDS = ("model.embed_tokens.weight", "lm_head.weight")  # which keep 8 bits, because errors of 4 cost most there
_SAMPLE_ROWS, _SAMPLE_BLOCKS = 8, 32  # of each row
_HALF = 2  # bytes of a float16


@dataclass
class BlockWeight:
    """A weight as integers of `kind`: GGUF's own blocks, where the source has them, without another rounding."""

    source: Tensor
    kind: str
    name: str
    kept: bool
    has_minima: bool = False
    _slice: tuple[int, int] = (0, 0)  # the rows of _rows
    _rows: Quantised | None = field(default=None, repr=False)

    def rows(self, start: int, stop: int) -> Quantised:
        """The tensors of a weight ask for the same rows one after the other, which are computed once."""
        if self._rows is None or self._slice != (start, stop):
            self._slice, self._rows = (start, stop), (self._split if self.kept else self._quantised)(start, stop)
        return self._rows

    def _quantised(self, start: int, stop: int) -> Quantised:
        x = self.source.rows(start, stop, "F32").view(np.float32)
        most, limit = float(np.abs(x).max(initial=0)), largest(self.kind, self.has_minima)
        if most > limit:
            how = f"{self.kind} with minima" if self.has_minima else self.kind
            raise refusal(f"{self.name}: a number", f"{most:g}", f"up to {limit:g} in {how}")
        return quantised_with_minima(x) if self.has_minima else quantised(x, self.kind)

    def _split(self, start: int, stop: int) -> Quantised:
        assert isinstance(self.source, StoredTensor)
        raw = self.source.raw(start, stop)
        blocks = raw.reshape(len(raw), -1, self.source.format.size)
        ends = [_HALF, 2 * _HALF] if self.has_minima else [_HALF]
        *halves, codes = (np.ascontiguousarray(part).reshape(len(raw), -1) for part in np.split(blocks, ends, axis=2))
        for part in halves:
            if bad := count_not_finite(part, "F16"):
                raise Refused(f"{self.source.where}: {bad} scales or minima are infinite or NaN")
        return Quantised(codes, *halves)


@dataclass(frozen=True)
class BlockPart:
    """One tensor of a BlockWeight: `part` is a field of Quantised."""

    weight: BlockWeight
    part: str
    kept_as: str

    @property
    def shape(self) -> tuple[int, ...]:
        rows, columns = rows_columns(self.weight.source.shape)
        if self.part != "codes":
            return rows, columns // BLOCK
        return rows, columns if self.weight.kind == "int8" else columns // 2

    @property
    def step(self) -> int:
        return self.weight.source.step

    def rows(self, start: int, stop: int, name: str) -> Bytes:
        assert name == self.kept_as
        part: Any = getattr(self.weight.rows(start, stop), self.part)
        return part


def block_weight(name: str, tensor: Tensor, wish: str | None) -> BlockWeight | None:
    """How a tensor is written as integers when `wish` says so (None: not at all); None: it is written in plain."""
    if wish is None or not _LARGE.fullmatch(name) or tensor.shape[1] % BLOCK:
        return None
    if isinstance(tensor, StoredTensor) and tensor.format.name in _KEPT:
        kind, has_minima = _KEPT[tensor.format.name]
        return BlockWeight(tensor, kind, name, kept=True, has_minima=has_minima)
    if wish == AS_IS:
        return None
    kind = "int8" if name in _ENDS else wish
    return BlockWeight(tensor, kind, name, kept=False, has_minima=kind == "int4" and minima_pay(_sample(tensor)))


def _sample(tensor: Tensor) -> Floats:
    """Some blocks of a weight, from rows all over it: the server's choice."""
    rows, columns = rows_columns(tensor.shape)
    count = min(_SAMPLE_ROWS, rows)
    chosen = []
    for row in (i * rows // count for i in range(count)):
        start = row // tensor.step * tensor.step
        numbers = tensor.rows(start, min(start + tensor.step, rows), "F32").view(np.float32)
        chosen.append(numbers[row - start, : min(columns, _SAMPLE_BLOCKS * BLOCK)])
    return np.concatenate(chosen).reshape(-1, BLOCK)


def written(name: str, weight: BlockWeight) -> dict[str, tuple[Tensor, str]]:
    """Its tensors by name, with their formats."""
    codes = CODES[weight.kind]
    tensors: dict[str, tuple[Tensor, str]] = {name: (BlockPart(weight, "codes", codes), codes)}
    for part in ("scales", "minima") if weight.has_minima else ("scales",):
        tensors[f"{name}_{part}"] = (BlockPart(weight, part, "F16"), "F16")
    return tensors
