# SPDX-License-Identifier: Apache-2.0
"""The entries of a JSON file, a list or one a line, each with the number of its line."""

import re
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

import msgspec

from glance_registry.model.errors import Invalid

LONGEST_LINE = 64 * 1024 * 1024
"""In bytes. The longest possible image has less; what goes on has forgotten its line ends."""

_MARK = b"\xef\xbb\xbf"
"""A byte order mark, which some editors write."""

Entry = tuple[int, bytes | None]
"""The number of a line, and the entry that begins there; None for a line that is too long."""


def read_entries(stream: BinaryIO) -> Iterator[Entry]:
    """The entries. Lines are read as they are asked for, a list is read whole. Raises Invalid for a broken list."""
    lines = _lines(stream)
    for number, line in lines:
        if line is not None and line.startswith(b"["):
            yield from _list_entries(number, line + stream.read())
        else:
            yield from chain([(number, line)], lines)
        return


def _lines(stream: BinaryIO) -> Iterator[Entry]:
    """The lines that are not blank, without the blanks before them."""
    number = 0
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
