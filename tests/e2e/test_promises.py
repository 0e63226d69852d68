"""What the pages on security and operations promise has a test beside it, and every test that they name exists."""

from __future__ import annotations

import re

import pytest
from programs import ROOT

PAGES = ("security.md", "operations.md")
WITHOUT_PROMISES = {"Not there yet"}


def sections(page: str) -> dict[str, str]:
    """Heading -> text below it, up to the next heading of any depth."""
    text = re.sub(r"^```.*?^```", "", (ROOT / "docs" / page).read_text(), flags=re.M | re.S)
    parts = re.split(r"^##+ (.*)$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str) -> list[str]:
    """The cells on tests of the tables of promises."""
    tables = re.findall(r"^\| promise \| test \|\n\| --- \| --- \|\n((?:\|.*\n)+)", text, re.M)
    return [row.split("|")[-2] for table in tables for row in table.splitlines()]


def named(text: str) -> list[str]:
    return [name for cell in rows(text) for name in re.findall(r"`([^`]+)`", cell)]


def exists(name: str) -> bool:
    path, _, test = name.partition("::")
    file = ROOT / ("" if path.startswith("bench/") else "tests") / path
    if not file.is_file():
        return False
    definition = rf"^TEST(_F|_P)?\(\w+,\s*{test}\)" if file.suffix == ".cc" else rf"^(async )?def {test}\("
    return not test or re.search(definition, file.read_text(), re.M) is not None


@pytest.mark.parametrize("page", PAGES)
def test_every_section_names_its_tests(page: str) -> None:
    assert [title for title, text in sections(page).items() if not named(text) and title not in WITHOUT_PROMISES] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_is_named_exists(page: str) -> None:
    names = [name for text in sections(page).values() for name in named(text)]
    assert len(names) > 20
    assert [name for name in names if not exists(name)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_promise_has_a_test(page: str) -> None:
    assert all("`" in cell for text in sections(page).values() for cell in rows(text))


def test_names_that_rot_are_found() -> None:
    assert exists("e2e/test_promises.py::test_names_that_rot_are_found")
    assert exists("server/access/access_test.cc::LimitsCallsUnderWay")
    for name in ("e2e/none.py", "e2e/test_promises.py::test_names", "server/access/access_test.cc::Limits"):
        assert not exists(name)
