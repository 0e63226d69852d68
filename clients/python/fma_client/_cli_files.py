"""Where the command line writes: no byte is lost in silence, and what is no file stays what it is."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

_STANDARD_OUTPUT = 1


class OutputLostError(Exception):
    """Something could not be written."""


def write_all(descriptor: int, name: str, data: bytes) -> None:
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputLostError(f"{name}: {error.strerror}") from None


def write_output(data: bytes) -> None:
    """To standard output at once."""
    if sys.stdout is None:  # closed when Python started; something else may have its descriptor by now
        raise OutputLostError("standard output: Bad file descriptor")
    write_all(_STANDARD_OUTPUT, "standard output", data)


def export(pieces: Iterable[bytes], name: str) -> None:
    """A file appears under its name when it is whole, at the end of a link if it is one; a FIFO or a device is
    written to as it is, and - is standard output."""
    if name == "-":
        for piece in pieces:
            write_output(piece)
    elif os.path.exists(name) and not stat.S_ISREG(os.stat(name).st_mode):
        with open(name, "wb", buffering=0) as device:  # a folder is refused here
            for piece in pieces:
                write_all(device.fileno(), name, piece)
    else:
        _export_file(pieces, Path(name).resolve())


def _export_file(pieces: Iterable[bytes], path: Path) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    with open(unfinished, "xb", buffering=0) as file:
        try:
            for piece in pieces:
                write_all(file.fileno(), str(path), piece)
            os.fsync(file.fileno())
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
