"""The header of a GGUF file (version 2 or 3, little-endian): metadata and where tensors lie.

PyPI's gguf has a reader too; this one exists because a file may be hostile. Every count and length is compared with the
bytes that are left before anything is made of it.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from .elements import gguf_format
from .refusal import Refused, refusal, shown
from .source_file import SourceFile
from .tensor import StoredTensor

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_HEADER = 256 << 20
_MAX_NAME = 65535
_MAX_ELEMENTS = 1 << 24  # of an array: as many as a vocabulary may have
_STRING, _ARRAY, _BOOL = 8, 9, 7
_NUMBERS = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 10: "<u8", 11: "<i8", 12: "<f8"}


class GgufFile:
    """`metadata` by key, as Python values; `tensors` by name, not yet read."""

    def __init__(self, path: Path) -> None:
        self._cursor = cursor = _Cursor(SourceFile(path))
        if cursor.take(4) != MAGIC:
            raise refusal(f"{path}: first bytes", "not GGUF", "a GGUF file")
        version = cursor.number("<u4")
        if version not in _VERSIONS:
            raise refusal(f"{path}: version", str(version), "2 or 3, little-endian")
        tensor_count, key_count = cursor.count(24), cursor.count(13)
        self.metadata = self._metadata(key_count)
        alignment = self.metadata.get("general.alignment", 32)
        if type(alignment) is not int or not 8 <= alignment <= 65536 or alignment % 8:
            raise refusal(f"{path}: general.alignment", shown(alignment), "a multiple of 8 up to 65536")
        entries = [self._entry() for _ in range(tensor_count)]
        start = -(-cursor.offset // alignment) * alignment
        self.tensors = self._placed(entries, start, alignment)

    def _metadata(self, count: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for _ in range(count):
            key = self._cursor.text(_MAX_NAME)
            if key in values:
                raise Refused(f"{self._cursor.path}: metadata {shown(key)} stands twice")
            values[key] = self._value(self._cursor.number("<u4"))
        return values

    def _value(self, kind: int) -> Any:
        if kind != _ARRAY:
            return self._single(kind)
        element = self._cursor.number("<u4")
        if element in _NUMBERS:
            return self._cursor.numbers(_NUMBERS[element])
        return [self._single(element) for _ in range(self._cursor.elements(8 if element == _STRING else 1))]

    def _single(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self._cursor.number(_NUMBERS[kind])
        if kind == _BOOL:
            return self._cursor.number("<u1") != 0
        if kind == _STRING:
            return self._cursor.text(_MAX_HEADER)
        raise refusal(f"{self._cursor.path}: type of metadata", str(kind), "0 to 12, and no array in an array")

    def _entry(self) -> tuple[str, tuple[int, ...], int, int]:
        """Name, shape [rows, columns], number of the format, and place in the data."""
        name = self._cursor.text(_MAX_NAME)
        where = f"{self._cursor.path}: tensor {shown(name)}"
        dimensions = self._cursor.number("<u4")
        if dimensions not in (1, 2):
            raise refusal(f"{where}: dimensions", str(dimensions), "1 or 2")
        shape = tuple(reversed([self._cursor.number("<u8") for _ in range(dimensions)]))
        if not all(1 <= extent < 1 << 40 for extent in shape):
            raise refusal(f"{where}: shape", shown(shape), "extents from 1 to 2^40 - 1")
        return name, shape, self._cursor.number("<u4"), self._cursor.number("<u8")

    def _placed(
        self, entries: list[tuple[str, tuple[int, ...], int, int]], start: int, alignment: int
    ) -> dict[str, StoredTensor]:
        """Tensors by name; they may have gaps between them, but never overlap."""
        tensors: dict[str, StoredTensor] = {}
        free = 0  # from the start of the data
        for name, shape, kind, offset in sorted(entries, key=lambda entry: entry[3]):
            where = f"{self._cursor.path}: tensor {shown(name)}"
            if name in tensors:
                raise Refused(f"{where} stands twice")
            if offset % alignment or offset < free:
                raise refusal(f"{where}: offset", str(offset), f"a multiple of {alignment}, {free} or more")
            element = gguf_format(kind, where)
            rows, columns = (shape[0], shape[1]) if len(shape) == 2 else (1, shape[0])
            free = offset + rows * element.row_bytes(columns, where)
            if start + free > self._cursor.file.size:
                raise Refused(f"{where} ends at byte {start + free} of a file of {self._cursor.file.size}")
            if len(shape) == 1 and not element.plain:
                raise refusal(f"{where}: format", element.name, "F32, F16 or BF16 for a vector")
            tensors[name] = StoredTensor(self._cursor.file, name, start + offset, shape, element)
        return tensors


class _Cursor:
    """Reads the header from its start to its end, in pieces of some size."""

    _PIECE = 1 << 20

    def __init__(self, file: SourceFile) -> None:
        self.file, self.path, self.offset = file, file.path, 0
        self._piece, self._start = b"", 0

    def take(self, count: int) -> bytes:
        end = self.offset + count
        if end > min(self.file.size, _MAX_HEADER):
            limit = f"the file ({self.file.size} bytes)" if self.file.size <= _MAX_HEADER else f"{_MAX_HEADER} bytes"
            raise Refused(f"{self.path}: its header reaches past {limit}")
        if end > self._start + len(self._piece):
            size = min(max(count, self._PIECE), self.file.size - self.offset)
            self._piece, self._start = self.file.read(self.offset, size), self.offset
        first = self.offset - self._start
        self.offset = end
        return self._piece[first : first + count]

    def number(self, kind: str) -> Any:
        """An integer or a float, in NumPy's notation."""
        return np.frombuffer(self.take(np.dtype(kind).itemsize), kind)[0].item()

    def count(self, smallest: int) -> int:
        """How many things of at least `smallest` bytes follow."""
        count = struct.unpack("<Q", self.take(8))[0]
        left = min(self.file.size, _MAX_HEADER) - self.offset
        if count > left // smallest:
            raise Refused(f"{self.path}: {count} entries at byte {self.offset}, where {left} bytes are left")
        return int(count)

    def elements(self, smallest: int) -> int:
        """How many elements of an array follow."""
        count = self.count(smallest)
        if count > _MAX_ELEMENTS:
            raise refusal(f"{self.path}: array at byte {self.offset}", f"{count} long", f"up to {_MAX_ELEMENTS}")
        return count

    def numbers(self, kind: str) -> list[Any]:
        size = np.dtype(kind).itemsize
        return np.frombuffer(self.take(self.elements(size) * size), kind).tolist()

    def text(self, limit: int) -> str:
        length = self.count(1)
        if length > limit:
            raise refusal(f"{self.path}: text at byte {self.offset}", f"{length} bytes", f"at most {limit}")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise refusal(f"{self.path}: text at byte {self.offset}", "not UTF-8", "UTF-8") from error
