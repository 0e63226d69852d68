#!/usr/bin/env python3
"""Writes what clang-tidy reads: the files of neighbouring rooms, joined to a few large units.

joined_units.py FOLDER reads FOLDER/compile_commands.json, which names every file by itself, and writes
FOLDER/joined/{product,tests}-N.cc and FOLDER/joined/compile_commands.json. The headers of gRPC and of
the tests cost clang-tidy more than the files do: joined, all of them take a third of the time.

Names of one namespace must differ within a unit, those of unnamed namespaces too. A program's main
file and the files that are compiled once per instruction set stay by themselves.
"""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINES_A_UNIT = 4000  # clang-tidy then takes about 1 GiB and half a minute for one
ALONE = re.compile(r"^int main\(|foreach_target\.h", re.MULTILINE)

Flags = dict[tuple[str, ...], None]  # a set that keeps its order


def flags_of(command: str) -> Flags:
    """What the compiler was told, less its own name, the file that it reads and the one that it writes."""
    arguments = iter(shlex.split(command)[1:])
    flags: Flags = {}
    for argument in arguments:
        if argument == "-o":
            next(arguments)
        elif argument == "-isystem":
            flags[argument, next(arguments)] = None
        elif argument != "-c" and not argument.endswith(".cc"):
            flags[argument,] = None
    return flags


def compiled_files(folder: Path) -> dict[Path, Flags]:
    """The project's own C++ files and their flags: neither generated code nor what the emulator compiles."""
    files: dict[Path, Flags] = {}
    for entry in json.loads((folder / "compile_commands.json").read_text()):
        path = Path(entry["file"])
        if path.suffix == ".cc" and not path.is_relative_to(folder):
            files.setdefault(path, flags_of(entry["command"]))
    return files


def is_test(path: Path) -> bool:
    return path.relative_to(ROOT).parts[0] in ("tests", "bench")


def house(path: Path) -> tuple[str, ...]:
    """Whose files may be joined: a top-level folder's, or those of one room of tests, as their support
    has the same names in every room."""
    return path.relative_to(ROOT).parent.parts[: 3 if is_test(path) else 1]


def units(paths: Iterable[Path]) -> Iterator[list[Path]]:
    """The files by their paths' order, as many to a unit as LINES_A_UNIT allows."""
    unit: list[Path] = []
    lines = 0
    for path in sorted(paths):
        text = path.read_text()
        if ALONE.search(text):
            yield [path]
            continue
        full = lines + text.count("\n") > LINES_A_UNIT
        if unit and (full or house(path) != house(unit[0])):
            yield unit
            unit, lines = [], 0
        unit.append(path)
        lines += text.count("\n")
    if unit:
        yield unit


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    joined = folder / "joined"
    shutil.rmtree(joined, ignore_errors=True)
    joined.mkdir()
    files = compiled_files(folder)
    commands = []
    for kind, tests in (("product", False), ("tests", True)):
        for number, unit in enumerate(units(path for path in files if is_test(path) == tests)):
            file = joined / f"{kind}-{number}.cc"
            file.write_text("".join(f'#include "{path}"\n' for path in unit))
            flags: Flags = {}
            for path in unit:
                flags |= files[path]
            arguments = ["c++", *(word for flag in flags for word in flag), "-c", str(file)]
            commands.append({"directory": str(folder), "file": str(file), "arguments": arguments})
    (joined / "compile_commands.json").write_text(json.dumps(commands, indent=1))


if __name__ == "__main__":
    main()
