"""The examples of the docstrings, docs/python.md and the READMEs run as they stand, against a real server."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re

import fma_client
import pytest
from fma_client import Client
from programs import ROOT

MODULES = [
    f"fma_client.{module.name}"
    for module in pkgutil.iter_modules(fma_client.__path__)
    if module.name not in ("__main__", "_stubs")
]
PAGES = ["docs/python.md", "clients/python/README.md", "README.md"]


@pytest.mark.parametrize("name", ["fma_client", *MODULES])
def test_docstrings(name: str, address: str, client: Client) -> None:
    module = importlib.import_module(name)
    names = {"client": client, "address": address}
    failed, _ = doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_some_docstrings_have_examples() -> None:
    found = doctest.DocTestFinder().find(fma_client.Client)
    assert sum(bool(test.examples) for test in found) >= 5


@pytest.mark.parametrize("page", PAGES)
def test_pages(page: str, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = [code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "client" in code]
    assert blocks, f"{page} has no example"
    names: dict[str, object] = {"__name__": page}
    for block in blocks:
        exec(compile(block.replace("localhost:50051", address), page, "exec"), names)
    assert capsys.readouterr().out
