"""Tensors as rows that are read when they are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .elements import Bytes, ElementFormat, count_not_finite, encoded
from .refusal import Refused
from .source_file import SourceFile


class Tensor(Protocol):
    """A matrix [rows, columns]; a vector [rows] has one column."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def kept_as(self) -> str:
        """The plain format that loses nothing worth keeping."""
        ...

    @property
    def step(self) -> int:
        """Slices begin at multiples of so many rows."""
        ...

    def rows(self, start: int, stop: int, name: str) -> Bytes:
        """Rows in the plain format `name`, as bytes [rows, bytes]. Refuses numbers that are not finite."""
        ...


def rows_columns(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[0], (shape[1] if len(shape) == 2 else 1)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor somewhere in a file. With `pairs` d its rows are those of heads of d channels in which the partners of
    a rotary pair are neighbours (GGUF's order for llama); they are given with partners d/2 apart, as we have them."""

    file: SourceFile
    name: str
    offset: int
    shape: tuple[int, ...]
    format: ElementFormat
    pairs: int = 0

    @property
    def kept_as(self) -> str:
        return self.format.name if self.format.plain else "BF16"

    @property
    def step(self) -> int:
        return self.pairs or 1

    @property
    def where(self) -> str:
        return f"{self.file.path}: tensor {self.name}"

    def raw(self, start: int, stop: int) -> Bytes:
        """Rows in the file's own format."""
        width = self.format.row_bytes(rows_columns(self.shape)[1], self.where)
        text = self.file.read(self.offset + start * width, (stop - start) * width)
        raw = np.frombuffer(text, np.uint8).reshape(stop - start, width)
        if self.pairs:
            raw = np.ascontiguousarray(raw.reshape(-1, self.pairs // 2, 2, width).swapaxes(1, 2)).reshape(raw.shape)
        return raw

    def rows(self, start: int, stop: int, name: str) -> Bytes:
        raw = self.raw(start, stop)
        if name != self.format.name:
            numbers = encoded(self.format.floats(raw), "F32")
            self._check(numbers, "F32", "")
            raw = numbers if name == "F32" else encoded(numbers.view(np.float32), name)
        self._check(raw, name, f" as {name}")
        return raw

    def _check(self, raw: Bytes, name: str, how: str) -> None:
        bad = count_not_finite(raw, name)
        if bad:
            raise Refused(f"{self.where}: {bad} numbers are infinite or NaN{how}")


@dataclass(frozen=True)
class ZeroTensor:
    """Zeros that the source leaves out."""

    shape: tuple[int, ...]
    kept_as: str
    step: int = 1

    def rows(self, start: int, stop: int, name: str) -> Bytes:
        columns = rows_columns(self.shape)[1]
        return encoded(np.zeros((stop - start, columns), np.float32), name)
