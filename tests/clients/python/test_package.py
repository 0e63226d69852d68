"""The package as it is installed."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import fma_client
from fma_client import Client
from programs import ROOT


def test_the_version_is_the_projects(client: Client) -> None:
    version = re.search(r"^project\(\w+ VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text(), re.M)[1]
    assert importlib.metadata.version("fma-client") == version == client.model().server_version


def test_no_module_imports_what_imports_it() -> None:
    """Each alone, in an interpreter of its own, and never a half-made one."""
    package = Path(fma_client.__file__).parent
    imports: dict[str, set[str]] = {}
    for file in package.glob("*.py"):
        text = file.read_text()
        names = re.findall(r"^\s*from \.(\w+) import", text, re.M)
        names += re.findall(r"^\s*from \. import (.+)$", text, re.M)
        imports[file.stem] = {name.strip() for line in names for name in line.split(",")}

    def reach(module: str, seen: frozenset[str] = frozenset()) -> None:
        assert module not in seen, f"{module} imports itself by way of {sorted(seen)}"
        for other in imports.get(module, ()):
            reach(other, seen | {module})

    for module in imports:
        reach(module)


def test_it_needs_nothing_that_protoc_generated() -> None:
    """Generated modules work with two major versions of protobuf only."""
    script = "import sys, fma_client; print(*(name for name in sys.modules if name.endswith('_pb2')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    foreign = [name for name in done.stdout.split() if not name.startswith("google.protobuf.")]
    assert foreign == []
