# SPDX-License-Identifier: Apache-2.0
"""From a query string to typed parameters, or an error that says what is wrong with one."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from glance_registry.api.json_body import read_switch
from glance_registry.model.errors import Invalid
from glance_registry.model.image import MAX_INT64


def read_pairs(query_string: bytes) -> list[tuple[str, str]]:
    """Names and values in their order. Raises Invalid for what is no UTF-8 or has a NUL."""
    try:
        pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise Invalid("The query string is not UTF-8.") from None
    for name, value in pairs:
        if "\0" in name + value:
            raise Invalid(f"Parameter '{name}' holds a NUL character.")
    return pairs


def read_text(name: str, given: str) -> str:  # noqa: ARG001 - the signature of a reader
    return given


def read_whole(largest: int) -> Callable[[str, str], int]:
    """A reader of whole numbers from 0 to the largest."""

    def read(name: str, given: str) -> int:
        if not re.fullmatch(r"\d{1,30}", given, re.ASCII) or int(given) > largest:
            raise Invalid(f"Parameter '{name}' must be a whole number from 0 to {largest}.")
        return int(given)

    return read


def read_truth(name: str, given: str) -> bool:
    value = read_switch(given)
    if not isinstance(value, bool):
        raise Invalid(f"Parameter '{name}' must be true or false.")
    return value


def read_time(name: str, given: str) -> datetime:
    """ISO 8601; without a zone it is UTC."""
    try:
        # The "+" of a zone that a client forgot to encode arrives as a blank.
        instant = datetime.fromisoformat(re.sub(r"(T.*) (\d\d:?\d\d)$", r"\1+\2", given))
        return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(f"Parameter '{name}' must be a time as in 2026-11-23T09:36:08Z.") from None


def read_limit(given: str | None, default: int, largest: int) -> int:
    return min(default if given is None else read_whole(MAX_INT64)("limit", given), largest)


def one_of(name: str, given: str | None, allowed: Sequence[str]) -> str:
    """The parameter's value, or its default, which is the first allowed one."""
    if given is None:
        return allowed[0]
    if given not in allowed:
        raise Invalid(f"Parameter '{name}' must be one of: {', '.join(allowed)}.")
    return given
