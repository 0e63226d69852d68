"""A client's command, from the virtual environment that its tests run in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_tool(name: str, *words: object, timeout: float, **variables: str) -> str:
    """What `name` prints with these words and environment variables; the test fails if it does not succeed."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name(name)), *(str(word) for word in words)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
