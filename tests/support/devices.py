"""Devices for tests of programs that write."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest


def full_device(folder: Path) -> Path:
    """A device that is always full: the test's own, so that a program that replaces it costs nobody else's."""
    device = folder / "full"
    try:
        os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 7))
        os.close(os.open(device, os.O_WRONLY))
    except OSError:
        if os.geteuid() == 0:
            pytest.skip("no devices can be made here")
        return Path("/dev/full")  # which is not this user's to replace
    return device
