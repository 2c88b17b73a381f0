# SPDX-License-Identifier: Apache-2.0
"""A PATCH's body becomes steps. Two forms are spoken, told apart by the Content-Type:

- v2.1: `[{"op": "replace", "path": "/name", "value": "x"}]` (a part of RFC 6902)
- v2.0: `[{"replace": "/name", "value": "x"}]` (its draft 4); there `add` is only for what is not there yet
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from glance_registry.api.errors import UnsupportedType
from glance_registry.api.json_body import read_list
from glance_registry.api.v2.offer import Offer
from glance_registry.api.v2.wire import FIELDS, NUMBERS, as_property, check_may_name, read_place
from glance_registry.model.changes import (
    Step,
    all_of,
    insert_place,
    remove_place,
    remove_property,
    set_field,
    set_places,
    set_property,
    set_tags,
)
from glance_registry.model.errors import Conflict, Forbidden, Invalid

OPERATIONS = ("add", "remove", "replace")
MEDIA_TYPES = {
    "application/openstack-images-v2.0-json-patch": False,
    "application/openstack-images-v2.1-json-patch": True,
}
MOST_OPERATIONS = 1_000
PATCH_SCHEMA = {
    "type": "array",
    "maxItems": MOST_OPERATIONS,
    "items": {
        "type": "object",
        "properties": {"op": {"enum": list(OPERATIONS)}, "path": {"type": "string", "pattern": "^/"}, "value": {}},
        "required": ["op", "path"],
    },
}

_POSITION = re.compile(r"\d{1,4}", re.ASCII)
_BROKEN_ESCAPE = re.compile(r"~(?![01])")
_DEPTHS = {("locations", "add"): 2, ("locations", "remove"): 2}


class Change(Struct, frozen=True):
    """One entry of a patch: what to do, where, with which value."""

    operation: str
    path: list[str]
    value: Any
    by_rfc: bool

    @property
    def name(self) -> str:
        return self.path[0]


def read_patch(body: bytes, content_type: str, offer: Offer) -> Step:
    """What a client wants changed. Raises UnsupportedType, Invalid, Forbidden or Conflict."""
    by_rfc = MEDIA_TYPES.get(content_type.partition(";")[0].strip().lower())
    if by_rfc is None:
        raise UnsupportedType(f"A PATCH's Content-Type must be one of: {', '.join(MEDIA_TYPES)}.", tuple(MEDIA_TYPES))
    entries = read_list(body)
    if len(entries) > MOST_OPERATIONS:
        raise Invalid(f"A patch may have at most {MOST_OPERATIONS} operations.")
    return all_of([_step(_read_change(entry, by_rfc), offer) for entry in entries])


def _read_change(entry: Any, by_rfc: bool) -> Change:
    if not isinstance(entry, dict):
        raise Invalid("Every operation of a patch must be a JSON object.")
    if by_rfc:
        operation, pointer = entry.get("op"), entry.get("path")
    else:
        named = [name for name in OPERATIONS if name in entry]
        operation = named[0] if len(named) == 1 else None
        pointer = entry[operation] if operation else None
    if operation not in OPERATIONS:
        raise Invalid(f"Every operation of a patch must be one of: {', '.join(OPERATIONS)}.")
    if operation != "remove" and "value" not in entry:
        raise Invalid(f"Operation '{operation}' requires a member named 'value'.")
    change = Change(operation, _read_pointer(pointer), entry.get("value"), by_rfc)
    if len(change.path) != _DEPTHS.get((change.name, operation), 1):
        raise Invalid(f"'{pointer}' is no path that operation '{operation}' can have.")
    return change


def _read_pointer(pointer: Any) -> list[str]:
    """The parts of a JSON pointer (RFC 6901)."""
    if not isinstance(pointer, str) or not pointer.startswith("/") or _BROKEN_ESCAPE.search(pointer):
        raise Invalid("A path must be a JSON pointer as in '/name'.")
    parts = [part.replace("~1", "/").replace("~0", "~").strip() for part in pointer[1:].split("/")]
    if not all(parts):
        raise Invalid("A path must be a JSON pointer without empty parts.")
    return parts


def _step(change: Change, offer: Offer) -> Step:
    if change.name == "id":
        raise Forbidden("Attribute 'id' is read-only.")
    check_may_name(change.name)
    if change.name == "locations":
        return _locations_step(change, offer)
    if change.operation != "remove":
        offer.schemas.check_part({change.name: change.value})
    is_field = change.name in (*FIELDS, *NUMBERS, "tags")
    return _field_step(change) if is_field else _property_step(change)


def _field_step(change: Change) -> Step:
    if change.operation == "remove":
        raise Forbidden(f"Attribute '{change.name}' may not be removed.")
    if change.operation == "add" and not change.by_rfc:
        raise Conflict(f"Property {change.name} is already present.")
    if change.name == "tags":
        return set_tags(change.value)
    if change.name == "owner":
        return set_field("owner", change.value or None)
    return set_field(change.name, int(change.value) if change.name in NUMBERS else change.value)


def _property_step(change: Change) -> Step:
    if change.operation == "remove":
        return remove_property(change.name)
    value = as_property(change.name, change.value)
    if change.operation == "replace":
        return set_property(change.name, value, is_there=True)
    return set_property(change.name, value, is_there=None if change.by_rfc else False)


def _locations_step(change: Change, offer: Offer) -> Step:
    if not offer.show_multiple_locations:
        raise Forbidden("Locations are invisible here and can be changed by nobody in this way.")
    return _LOCATIONS_STEPS[change.operation](change, offer)


def _add_location(change: Change, offer: Offer) -> Step:
    offer.schemas.check_part({"locations": [change.value]})
    return insert_place(None if change.path[1] == "-" else _position(change), read_place(change.value))


def _replace_locations(change: Change, offer: Offer) -> Step:
    offer.schemas.check_part({"locations": change.value})
    return set_places([read_place(entry) for entry in change.value])


def _remove_location(change: Change, offer: Offer) -> Step:  # noqa: ARG001 - the shape of a reader
    return remove_place(_position(change))


_LOCATIONS_STEPS: Mapping[str, Callable[[Change, Offer], Step]] = {
    "add": _add_location,
    "replace": _replace_locations,
    "remove": _remove_location,
}


def _position(change: Change) -> int:
    if not _POSITION.fullmatch(change.path[1]):
        raise Invalid("A location's position must be a whole number.")
    return int(change.path[1])
