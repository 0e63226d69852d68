"""What the tests of stock clients share. They run in venvs of scripts/stock-grpc-clients."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
