# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies: images that a client may send under the document of 2011, and what it may not send."""

import json
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

STATUSES = ("active", "saving", "queued", "killed")
AMAZON = ("ari", "aki", "ami")
PLAIN_DISKS = ("raw", "vhd", "vdi", "qcow2", "vmdk")
MAX_INT32, MAX_INT64 = 2**31 - 1, 2**63 - 1
LOCATION_STATUSES = ("active", "pending_delete", "deleted")
TRUE, FALSE = ("true", "t", "yes", "on", "1"), ("false", "f", "no", "off", "0")


def texts(longest: int, shortest: int = 0) -> st.SearchStrategy[str]:
    """Any text that a database and a header can hold in some form: no NUL, no lone surrogate."""
    characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    return st.text(characters, min_size=shortest, max_size=longest)


def _numbers(largest: int) -> st.SearchStrategy[Any]:
    whole = st.integers(0, largest)
    return whole | whole.map(str) | whole.map(lambda number: f"00{number}")


def _cased(words: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.sampled_from(words).flatmap(lambda word: st.sampled_from([word, word.title(), word.upper()]))


def _optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Any of these fields, each given, null or absent."""
    return st.fixed_dictionaries({}, optional={name: st.none() | given for name, given in fields.items()})


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts(20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(10), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(texts(10), JSON_VALUES, max_size=3)
SWITCHES = st.booleans() | st.sampled_from([0, 1]) | _cased(TRUE) | _cased(FALSE)
FORMATS = st.sampled_from(AMAZON).map(lambda kind: {"disk_format": kind, "container_format": kind}) | st.builds(
    lambda disk, container: {"disk_format": disk, "container_format": container},
    st.sampled_from(PLAIN_DISKS),
    st.sampled_from(["bare", "ovf"]),
)


def urls(most: int) -> st.SearchStrategy[str]:
    """What may be a location: of a known scheme, without control characters."""
    return texts(most).map(lambda text: "file:///" + "".join(mark for mark in text if mark >= " " and mark != "\x7f"))


LOCATIONS = st.lists(
    st.fixed_dictionaries(
        {"url": urls(40)}, optional={"metadata": OBJECTS, "status": st.sampled_from(LOCATION_STATUSES)}
    ),
    max_size=4,
)
PROPERTY_MAPPINGS = st.dictionaries(texts(12, 1) | texts(255, 1), texts(60), max_size=6)
MANY_PROPERTIES = st.builds(
    lambda count, length: {f"p{number}": "x" * length for number in range(count)},
    st.integers(70, 128),
    st.integers(0, 500),
)
PROPERTY_LISTS = st.lists(
    st.fixed_dictionaries({"name": texts(20, 1), "value": texts(20)})
    | st.fixed_dictionaries({"key": texts(20, 1), "value": texts(20)}),
    max_size=6,
)
IGNORED = st.fixed_dictionaries(
    {},
    optional={
        "created_at": JSON_VALUES,
        "updated_at": JSON_VALUES,
        "deleted_at": JSON_VALUES,
        "deleted": JSON_VALUES,
        "a field of tomorrow": JSON_VALUES,
    },
)
NOT_IDS = (".", "..", "detail")
OPAQUE_IDS = st.from_regex(r"[A-Za-z0-9._~-]{1,36}", fullmatch=True).filter(lambda text: text not in NOT_IDS)
UUIDS = st.uuids().map(str) | st.uuids().map(lambda given: given.hex.upper())
LATER_STATUSES = ("pending_delete", "deleted", "deactivated", "importing", "uploading")
COMMON = [
    _optional(
        name=texts(255),
        size=_numbers(MAX_INT64),
        virtual_size=_numbers(MAX_INT64),
        checksum=texts(32),
        owner=texts(255),
        location=st.just("") | urls(60),
        location_data=LOCATIONS,
        properties=PROPERTY_MAPPINGS | PROPERTY_LISTS | MANY_PROPERTIES,
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "min_disk": _numbers(MAX_INT32),
            "min_ram": _numbers(MAX_INT32),
            "is_public": SWITCHES,
            "protected": SWITCHES,
        },
    ),
    IGNORED,
]


def _merged(parts: list[st.SearchStrategy[Json]]) -> st.SearchStrategy[Json]:
    return st.tuples(*parts).map(lambda given: {name: value for part in given for name, value in part.items()})


CACTUS_IMAGES = _merged(
    [
        *COMMON,
        FORMATS,
        st.fixed_dictionaries({}, optional={"status": st.sampled_from(STATUSES)}),
        _optional(id=OPAQUE_IDS | st.integers(-(10**30), 10**30)),
    ]
)
QUEENS_IMAGES = _merged(
    [
        *COMMON,
        _optional(disk_format=texts(20), container_format=texts(20), id=UUIDS),
        st.fixed_dictionaries({}, optional={"status": st.sampled_from(STATUSES + LATER_STATUSES)}),
    ]
)


def encoded(body: Any) -> st.SearchStrategy[bytes]:
    """The same JSON in the forms in which clients write it."""
    return st.builds(
        lambda ascii_only, indent: json.dumps(body, ensure_ascii=ascii_only, indent=indent).encode(),
        st.booleans(),
        st.sampled_from([None, 2]),
    )


def kept(given: Json) -> Json:
    """What a registry must show of an image that it was given, but for the id and the times."""
    places = _places(given)
    return {
        "name": given.get("name"),
        "status": given.get("status", "active"),
        "disk_format": given.get("disk_format"),
        "container_format": given.get("container_format"),
        "size": _number(given.get("size")),
        "virtual_size": _number(given.get("virtual_size")),
        "checksum": given.get("checksum"),
        "owner": given.get("owner") or None,
        "min_disk": _number(given.get("min_disk", 0)),
        "min_ram": _number(given.get("min_ram", 0)),
        "is_public": str(given.get("is_public", False)).lower() in TRUE,
        "protected": str(given.get("protected", False)).lower() in TRUE,
        "deleted": False,
        "deleted_at": None,
        "location": next((place["url"] for place in places if place["status"] == "active"), None),
        "location_data": places,
        "properties": _properties(given.get("properties")),
    }


def _number(given: Any) -> int | None:
    return None if given is None else int(given)


def _properties(given: Any) -> dict[str, str]:
    if isinstance(given, list):
        return {entry.get("name") or entry["key"]: entry["value"] for entry in given}
    return given or {}


def _places(given: Json) -> list[Json]:
    entries = list(given.get("location_data") or [])
    location = given.get("location")
    if location and location not in [entry["url"] for entry in entries]:
        entries.insert(0, {"url": location})
    by_url: dict[str, Json] = {}
    for entry in entries:
        by_url.setdefault(entry["url"], {"metadata": {}, "status": "active", **entry})
    return list(by_url.values())
