# SPDX-License-Identifier: Apache-2.0
"""The entries of a JSON file, each with the number of its line.

The file is a list, or one object a line, or one object over several lines. An object `{"images": […]}`, a list as
both APIs answer it, stands for its images.
"""

import re
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import chain
from typing import Any, BinaryIO

import msgspec

from glance_registry.model.errors import Invalid

LONGEST_LINE = 64 * 1024 * 1024
"""In bytes. The longest possible image has less; what goes on has forgotten its line ends."""

_MARK = b"\xef\xbb\xbf"
"""A byte order mark, which some editors write."""

Entry = tuple[int, bytes | None]
"""The number of a line, and the entry that begins there; None for a line that is too long."""


Report = Callable[[int, str], None]
"""Takes the number of a line and a sentence about it."""

_LIST_FIELDS = frozenset({"images", "first", "next", "schema"})


def read_entries(stream: BinaryIO, report: Report) -> Iterator[Entry]:
    """The entries. Lines are read as they are needed, a list is read whole. Raises Invalid for a broken list.

    A list of an API that goes on elsewhere is reported.
    """
    lines = _lines(stream)
    for number, line in lines:
        if line is not None and line.startswith(b"["):
            yield from _list_entries(number, line + stream.read())
        elif line is not None and line.startswith(b"{") and not _is_json(line):
            yield from _object_entries(number, line + stream.read(), report)
        else:
            for each, text in chain([(number, line)], lines):
                yield from _expanded(each, text, report)
        return


def _object_entries(number: int, text: bytes, report: Report) -> Iterator[Entry]:
    """One object over several lines; else the first line is broken, and the others are read one by one."""
    if _is_json(text):
        yield from _expanded(number, text, report)
        return
    for each, line in _lines(BytesIO(text), number - 1):
        yield from _expanded(each, line, report)


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _expanded(number: int, text: bytes | None, report: Report) -> Iterator[Entry]:
    """The images of a list of images; any other entry as it is."""
    listed = None if text is None or b'"images"' not in text else _read_list(text)
    if text is None or listed is None:
        yield number, text
        return
    if listed.get("next"):
        report(number, f"The list of images goes on at {listed['next']!r}; import that page, too.")
    start = text.index(b"[", text.index(b'"images"'))
    yield from _list_entries(number + text.count(b"\n", 0, start), bytes(listed["images"]))


def _read_list(text: bytes) -> dict[str, Any] | None:
    """The fields of a list of images, `images` as it stands there; None when it is something else."""
    try:
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        if not fields.keys() <= _LIST_FIELDS or not bytes(fields.get("images", b"")).startswith(b"["):
            return None
        return {name: raw if name == "images" else msgspec.json.decode(raw) for name, raw in fields.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _lines(stream: BinaryIO, number: int = 0) -> Iterator[Entry]:
    """The lines that are not blank, without the blanks before them; `number` is that of the line before."""
    while line := stream.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(LONGEST_LINE)
            yield number, None
        elif text := (line.removeprefix(_MARK) if number == 1 else line).lstrip():
            yield number, text


def _list_entries(first_line: int, text: bytes) -> Iterator[Entry]:
    try:
        entries = msgspec.json.decode(text, type=list[msgspec.Raw])
    except RecursionError:
        raise Invalid(f"line {first_line}: The list is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # The decoder names a byte, or it wanted more of them.
        byte = re.search(r"\(byte (\d+)\)", str(error))
        line = first_line + text.count(b"\n", 0, int(byte[1]) if byte else len(text.rstrip()))
        raise Invalid(f"line {line}: The list is not valid JSON: {error}.") from None
    line, place = first_line, 0
    for entry in map(bytes, entries):
        # Between two entries are a comma and blanks: the next place where its text is found is its own.
        start = text.index(entry, place)
        line += text.count(b"\n", place, start)
        yield line, entry
        line += entry.count(b"\n")
        place = start + len(entry)
