# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies: bodies that no client may send, each wrong in one place."""

import json
from typing import Any

from hypothesis import strategies as st

from tests.bodies import (
    AMAZON,
    CACTUS_IMAGES,
    FALSE,
    JSON_VALUES,
    LOCATION_STATUSES,
    MAX_INT32,
    MAX_INT64,
    PLAIN_DISKS,
    STATUSES,
    TRUE,
    texts,
)

VALID = {"name": "natty", "disk_format": "raw", "container_format": "bare"}

NUL = texts(5).map(lambda text: f"{text}\0x")
LONE_SURROGATE = texts(5).map(lambda text: f"{text}\ud800x")
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
LISTS, MAPPINGS = st.lists(JSON_VALUES, max_size=2), st.dictionaries(texts(5), JSON_VALUES, max_size=2)
NOT_TEXT = st.booleans() | NUMBERS | LISTS | MAPPINGS
NOT_OBJECT = st.booleans() | NUMBERS | LISTS | texts(5)


def _too_long(longest: int) -> st.SearchStrategy[str]:
    return st.sampled_from(["x", "é", "\U0001f40b"]).map(lambda letter: letter * (longest + 1))


def _no_text_of(longest: int) -> st.SearchStrategy[Any]:
    return NOT_TEXT | _too_long(longest) | NUL | LONE_SURROGATE


def _no_number_to(largest: int) -> st.SearchStrategy[Any]:
    fractions = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: number != int(number))
    words = texts(8).filter(lambda text: not (text.isascii() and text.isdigit()))
    beyond = st.integers(max_value=-1) | st.integers(min_value=largest + 1)
    return st.booleans() | fractions | words | beyond | beyond.map(str) | LISTS | MAPPINGS


def _none_of(allowed: tuple[str, ...]) -> st.SearchStrategy[Any]:
    return st.none() | NOT_TEXT | texts(30).filter(lambda text: text not in allowed) | NUL | LONE_SURROGATE


NO_SWITCH = (
    st.integers().filter(lambda number: number not in (0, 1))
    | texts(8).filter(lambda text: text.lower() not in TRUE + FALSE)
    | LISTS
    | MAPPINGS
)
NO_ID = (
    st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | LISTS
    | MAPPINGS
    | st.sampled_from(["", ".", "..", "detail", "a/b", "a b", "ä", "%2e", "x" * 37, 10**36, -(10**35), "a\n"])
    | NUL
    | LONE_SURROGATE
)
BAD_KEYS = st.dictionaries(NUL | LONE_SURROGATE, st.none(), min_size=1)
NO_LOCATION = st.one_of(
    NOT_OBJECT,
    st.fixed_dictionaries({"metadata": MAPPINGS}),
    st.fixed_dictionaries({"url": st.none() | st.just("") | _no_text_of(4096)}),
    st.fixed_dictionaries({"url": texts(5, 1), "metadata": NOT_OBJECT}),
    st.fixed_dictionaries({"url": texts(5, 1), "status": _none_of(LOCATION_STATUSES)}),
    st.fixed_dictionaries({"url": texts(5, 1), "metadata": BAD_KEYS}),
    st.fixed_dictionaries({"url": texts(5, 1), "metadata": st.fixed_dictionaries({"a": st.lists(NUL, min_size=1)})}),
)
NO_NAME = st.just("") | _too_long(255) | NUL | LONE_SURROGATE
NO_VALUE = st.booleans() | LISTS | MAPPINGS | _too_long(65_535) | NUL | LONE_SURROGATE
NO_PROPERTIES = st.one_of(
    st.booleans() | NUMBERS | texts(5),
    st.dictionaries(NO_NAME, texts(5), min_size=1),
    st.dictionaries(texts(5, 1), NO_VALUE, min_size=1),
    st.lists(NOT_OBJECT, min_size=1, max_size=2),
    st.lists(st.fixed_dictionaries({"value": texts(5)}), min_size=1, max_size=2),
    st.lists(st.fixed_dictionaries({"name": texts(5, 1)}), min_size=1, max_size=2),
    st.lists(st.fixed_dictionaries({"name": NO_NAME | NOT_TEXT, "value": texts(5)}), min_size=1, max_size=2),
    st.lists(st.fixed_dictionaries({"key": texts(5, 1), "value": NO_VALUE}), min_size=1, max_size=2),
    st.integers(129, 140).map(lambda count: {f"p{number}": "" for number in range(count)}),
    st.integers(129, 140).map(lambda count: [{"name": f"p{number}", "value": ""} for number in range(count)]),
)

WRONG_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "name": _no_text_of(255),
    "status": _none_of(STATUSES),
    "disk_format": _none_of(AMAZON + PLAIN_DISKS) | st.sampled_from(AMAZON),
    "container_format": _none_of((*AMAZON, "bare", "ovf")) | st.sampled_from(AMAZON),
    "size": _no_number_to(MAX_INT64),
    "virtual_size": _no_number_to(MAX_INT64),
    "checksum": _no_text_of(32),
    "owner": _no_text_of(255),
    "min_disk": _no_number_to(MAX_INT32),
    "min_ram": _no_number_to(MAX_INT32),
    "is_public": NO_SWITCH,
    "protected": NO_SWITCH,
    "location": _no_text_of(4096),
    "location_data": st.booleans() | NUMBERS | texts(5, 1) | st.lists(NO_LOCATION, min_size=1, max_size=2),
    "properties": NO_PROPERTIES,
}

WRONG_FIELDS = st.sampled_from(sorted(WRONG_VALUES)).flatmap(
    lambda field: WRONG_VALUES[field].map(lambda value: {field: value})
)
WRONG_SHAPES = (
    JSON_VALUES.filter(lambda value: not isinstance(value, dict))
    | MAPPINGS
    | st.fixed_dictionaries({"image": st.none() | NOT_OBJECT})
    | (st.booleans() | NUMBERS | LISTS | MAPPINGS).map(lambda state: {"image": VALID, "from_state": state})
    | st.just({"images": [VALID]})
    | st.just([{"image": VALID}])
)


def _cut(body: bytes) -> st.SearchStrategy[bytes]:
    return st.integers(0, len(body) - 1).map(lambda length: body[:length])


def _with_bytes_inserted(body: bytes) -> st.SearchStrategy[bytes]:
    bad = st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\0", b"\n", b"\xf5\x80\x80\x80"])
    return bad.map(lambda inserted: body.replace(b"natty", b"nat" + inserted + b"ty"))


_PLAIN = json.dumps({"image": VALID}).encode()
NOT_JSON = st.one_of(
    st.binary(max_size=200).filter(lambda body: not body.strip().startswith(b"{")),
    CACTUS_IMAGES.map(lambda image: json.dumps({"image": image}).encode()).flatmap(_cut),
    _with_bytes_inserted(_PLAIN),
    st.binary(min_size=1, max_size=20).filter(lambda tail: tail.strip(b" \t\r\n")).map(lambda tail: _PLAIN + tail),
    st.sampled_from(["utf-16", "utf-32", "utf-8-sig"]).map(lambda code: json.dumps({"image": VALID}).encode(code)),
    st.sampled_from([b"NaN", b"Infinity", b"1e400", b"'x'", b"01", b"+1", b"0x1", b"{}{}", b"// x"]).map(
        lambda value: b'{"image": {"disk_format": "raw", "container_format": "bare", "name": %s}}' % value
    ),
)


def broken_bodies(valid: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Bodies that must be refused, from a valid image."""
    wrong = WRONG_FIELDS.map(lambda field: {"image": {**valid, **field}}) | WRONG_SHAPES
    return wrong.map(lambda body: json.dumps(body).encode()) | NOT_JSON
