"""Programs in namespaces of their own, as a container has them. As root only."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


def _works(*command: str) -> bool:
    return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0


def as_process_one() -> list[str]:
    """Words before a command that make it process 1 of its own process namespace."""
    words = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0 or not _works(*words):
        pytest.skip("process namespaces are for root")
    return words


def _with_mount(source: Path, target: str) -> list[str]:
    script = f'mount --bind "{source}" {target} && exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", script, "sh"]
    if os.geteuid() != 0 or not _works(*words):
        pytest.skip("mount namespaces are for root")
    return words


def with_file(folder: Path, path: str, text: str) -> list[str]:
    """Words before a command for which the file of the system at `path` holds `text`."""
    file = folder / Path(path).name
    file.write_text(text)
    return _with_mount(file, path)


def with_memory_limit(folder: Path, limit: int) -> list[str]:
    """Words before a command that let it read `limit` as the limit of its control group."""
    (folder / "memory").mkdir(parents=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory" / "memory.limit_in_bytes").write_text(f"{limit}\n")
    return _with_mount(folder, "/sys/fs/cgroup")
