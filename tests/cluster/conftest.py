"""What the tests of deploy/ share. They run in .venv, which has the Python client."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
