"""A Hugging Face folder to change one thing in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from conftest import PRETRAINED
from fma_convert.cli import main


def copied(name: str, folder: Path, **changes: Any) -> Path:
    """A copy of one of the small models with other keys in its config.json; ... removes a key."""
    target = folder / name
    shutil.copytree(PRETRAINED / name, target)
    change(target / "config.json", changes)
    return target


def change(file: Path, changes: dict[str, Any]) -> None:
    values = json.loads(file.read_text("utf-8")) | changes
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}), "utf-8")


def converted(source: Path, out: Path, *options: str) -> dict[str, Any]:
    """The config.json of the converted folder."""
    main([str(source), str(out), *options])
    return json.loads((out / "config.json").read_text("utf-8"))
