"""Files that come from elsewhere, read in slices: what is not read takes no memory."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .refusal import Refused, refusal


class SourceFile:
    """An open file of a size that was seen once; a read beyond what is there is refused."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}") from error
        about = os.fstat(self._descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise refusal(str(path), "no regular file", "a file")
        self.size = about.st_size

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def read(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes."""
        if not 0 <= count <= self.size - offset:
            raise Refused(f"{self.path}: {count} bytes at {offset} reach past the end of the file ({self.size} bytes)")
        parts = []
        while count > 0:
            part = os.pread(self._descriptor, count, offset)
            if not part:
                raise Refused(f"{self.path}: ends at {offset}, {count} bytes early: it changed while it was read")
            parts.append(part)
            offset, count = offset + len(part), count - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def read_whole(path: Path, limit: int) -> bytes:
    """A small file."""
    file = SourceFile(path)
    if file.size > limit:
        raise refusal(f"{path}: size", f"{file.size} bytes", f"at most {limit}")
    return file.read(0, file.size)
