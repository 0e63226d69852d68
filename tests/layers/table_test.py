"""The table of rooms in docs/architecture.md says what the build links: table_test.py TABLE LINKS.

LINKS is the file that cmake/Rooms.cmake writes. Every link from one room to another must be in the table, and
everything in the table must be linked.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

ROW = re.compile(r"^\| (`[^|]*) \| [^|]* \| ([^|]*) \|$", re.MULTILINE)


def read_table(text: str) -> dict[str, set[str]]:
    """Room -> the rooms that it may use."""
    names = re.compile(r"`([^`]+)`")
    return {
        names.search(row[1]).group(1).rstrip("/"): set(names.findall(row[2]))
        for row in ROW.finditer(text)
    }


def read_links(text: str, rooms: dict[str, set[str]]) -> dict[str, set[str]]:
    """Room -> the rooms that its targets link to."""
    targets = [line.split("|") for line in text.splitlines()]
    shown = {name: paths.split() for name, paths, _ in targets}
    links = defaultdict(set)
    for name, _, linked in targets:
        # A test may compile a room's sources into its own program, which is not a link of the room.
        if not all(room_of(path, rooms) for path in shown[name]):
            continue
        room = room_of(shown[name][0], rooms)
        for other in linked.split():
            if other in shown and room_of(shown[other][0], rooms) != room:
                links[room].add(part_of(shown[other][0], rooms, rooms[room]))
    return links


def room_of(path: str, rooms: dict[str, set[str]]) -> str:
    """The innermost room that contains `path`; empty when it is in no room, like tests."""
    inside = [room for room in rooms if path == room or path.startswith(room + "/")]
    return max(inside, key=len, default="")


def part_of(path: str, rooms: dict[str, set[str]], named: set[str]) -> str:
    """A row may name one header or folder of a room instead of all of it."""
    return path if path in named else room_of(path, rooms)


def main() -> int:
    rooms = read_table(Path(sys.argv[1]).read_text())
    links = read_links(Path(sys.argv[2]).read_text(), rooms)
    wrong = 0
    for room, may_use in sorted(rooms.items()):
        for other in sorted(links[room] - may_use):
            print(f"{room} links {other or 'a target of tests/'}, which the table does not allow")
            wrong += 1
        for other in sorted(may_use - links[room]):
            print(f"{room} does not link {other}, which the table says that it uses")
            wrong += 1
    print(f"{len(rooms)} rooms, {sum(map(len, rooms.values()))} arrows, {wrong} wrong")
    return 1 if wrong or not rooms else 0


sys.exit(main())
