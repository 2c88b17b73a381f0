# SPDX-License-Identifier: Apache-2.0
"""Which characters of a text a reader cannot see, or is misled by: they are shown as escapes.

A direction override makes `gpj.exe` of `exe.jpg`, and a zero-width space makes two names that look the same.
"""

from collections.abc import Iterator

LAYOUT = frozenset("\n\t")
"""What a page shows as it is where a text may have several lines."""

NONE = frozenset[str]()


def printable(text: str) -> str:
    """The text, with a visible escape for each character that steers a terminal or cannot be seen."""
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else escape(mark) for mark in text)


def escape(mark: str) -> str:
    r"""`\u202e` and the like."""
    return mark.encode("unicode_escape").decode()


def pieces(text: str, shown: frozenset[str] = NONE) -> Iterator[tuple[str, bool]]:
    """The text in pieces, each with whether it is the escape of a character that cannot be seen."""
    plain = ""
    for mark in text:
        if mark.isprintable() or mark in shown:
            plain += mark
            continue
        if plain:
            yield plain, False
            plain = ""
        yield escape(mark), True
    if plain:
        yield plain, False
