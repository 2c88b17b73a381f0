# SPDX-License-Identifier: Apache-2.0
"""Makes changes of the body of a PATCH.

The Content-Type tells which of two forms it has:

- v2.1: `[{"op": "replace", "path": "/name", "value": "x"}]` (a part of RFC 6902)
- v2.0: `[{"replace": "/name", "value": "x"}]` (its draft 4); there `add` is only for what does not exist yet
"""

import re
from typing import Any

from msgspec import Struct

from glance_registry.api.errors import UnsupportedType
from glance_registry.api.json_body import read_list
from glance_registry.api.v2.offer import Offer
from glance_registry.api.v2.wire import FIELDS, NUMBERS, as_location, as_property, check_may_name
from glance_registry.model.changes import (
    AddLocation,
    Change,
    RemoveLocation,
    RemoveProperty,
    SetField,
    SetLocations,
    SetProperty,
    SetTags,
)
from glance_registry.model.errors import Conflict, Forbidden, Invalid

OPERATIONS = ("add", "remove", "replace")
MEDIA_TYPES = {
    "application/openstack-images-v2.0-json-patch": False,
    "application/openstack-images-v2.1-json-patch": True,
}
MAX_OPERATIONS = 1_000
PATCH_SCHEMA = {
    "type": "array",
    "maxItems": MAX_OPERATIONS,
    "items": {
        "type": "object",
        "properties": {"op": {"enum": list(OPERATIONS)}, "path": {"type": "string", "pattern": "^/"}, "value": {}},
        "required": ["op", "path"],
    },
}

_POSITION = re.compile(r"\d{1,4}", re.ASCII)
_BROKEN_ESCAPE = re.compile(r"~(?![01])")
_DEPTHS = {("locations", "add"): 2, ("locations", "remove"): 2}


class Operation(Struct, frozen=True):
    """One entry of a patch: what to do, where, with which value."""

    verb: str
    path: list[str]
    value: Any
    by_rfc: bool

    @property
    def name(self) -> str:
        return self.path[0]


def read_patch(body: bytes, content_type: str, offer: Offer) -> list[Change]:
    """What a client wants changed. Raises UnsupportedType, Invalid, Forbidden or Conflict."""
    by_rfc = MEDIA_TYPES.get(content_type.partition(";")[0].strip().lower())
    if by_rfc is None:
        raise UnsupportedType(f"A PATCH's Content-Type must be one of: {', '.join(MEDIA_TYPES)}.", tuple(MEDIA_TYPES))
    entries = read_list(body)
    if len(entries) > MAX_OPERATIONS:
        raise Invalid(f"A patch may have at most {MAX_OPERATIONS} operations.")
    return [_change(_read_operation(entry, by_rfc), offer) for entry in entries]


def _read_operation(entry: Any, by_rfc: bool) -> Operation:
    if not isinstance(entry, dict):
        raise Invalid("Every operation of a patch must be a JSON object.")
    if by_rfc:
        verb, pointer = entry.get("op"), entry.get("path")
    else:
        named = [name for name in OPERATIONS if name in entry]
        verb = named[0] if len(named) == 1 else None
        pointer = entry[verb] if verb else None
    if verb not in OPERATIONS:
        raise Invalid(f"Every operation of a patch must be one of: {', '.join(OPERATIONS)}.")
    if verb != "remove" and "value" not in entry:
        raise Invalid(f"Operation '{verb}' requires a member named 'value'.")
    operation = Operation(verb, _read_pointer(pointer), entry.get("value"), by_rfc)
    if len(operation.path) != _DEPTHS.get((operation.name, verb), 1):
        raise Invalid(f"'{pointer}' is no path that operation '{verb}' can have.")
    return operation


def _read_pointer(pointer: Any) -> list[str]:
    """The parts of a JSON pointer (RFC 6901)."""
    if not isinstance(pointer, str) or not pointer.startswith("/") or _BROKEN_ESCAPE.search(pointer):
        raise Invalid("A path must be a JSON pointer as in '/name'.")
    parts = [part.replace("~1", "/").replace("~0", "~").strip() for part in pointer[1:].split("/")]
    if not all(parts):
        raise Invalid("A path must be a JSON pointer without empty parts.")
    return parts


def _change(operation: Operation, offer: Offer) -> Change:
    if operation.name == "id":
        raise Forbidden("Attribute 'id' is read-only.")
    check_may_name(operation.name)
    if operation.name == "locations":
        return _change_of_locations(operation, offer)
    if operation.verb != "remove":
        offer.schemas.check_part({operation.name: operation.value})
    is_field = operation.name in (*FIELDS, *NUMBERS, "tags")
    return _change_of_field(operation) if is_field else _change_of_property(operation)


def _change_of_field(operation: Operation) -> Change:
    name, value = operation.name, operation.value
    if operation.verb == "remove":
        raise Forbidden(f"Attribute '{name}' may not be removed.")
    if operation.verb == "add" and not operation.by_rfc:
        raise Conflict(f"Property {name} is already present.")
    if name == "tags":
        return SetTags(tuple(value))
    if name == "owner":
        return SetField("owner", value or None)
    return SetField(name, int(value) if name in NUMBERS else value)


def _change_of_property(operation: Operation) -> Change:
    if operation.verb == "remove":
        return RemoveProperty(operation.name)
    exists = True if operation.verb == "replace" else None if operation.by_rfc else False
    return SetProperty(operation.name, as_property(operation.name, operation.value), exists)


def _change_of_locations(operation: Operation, offer: Offer) -> Change:
    if not offer.show_multiple_locations:
        raise Forbidden("Locations are invisible here and can be changed by nobody in this way.")
    if operation.verb == "remove":
        return RemoveLocation(_position(operation))
    if operation.verb == "replace":
        offer.schemas.check_part({"locations": operation.value})
        return SetLocations(tuple(as_location(entry) for entry in operation.value))
    offer.schemas.check_part({"locations": [operation.value]})
    position = None if operation.path[1] == "-" else _position(operation)
    return AddLocation(as_location(operation.value), position)


def _position(operation: Operation) -> int:
    if not _POSITION.fullmatch(operation.path[1]):
        raise Invalid("A location's position must be a whole number.")
    return int(operation.path[1])
