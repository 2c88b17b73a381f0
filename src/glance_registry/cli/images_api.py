# SPDX-License-Identifier: Apache-2.0
"""Converts images in answers of the Images API v2, ours or Glance's, to lines of an export.

An answer has no members, no version and no deleted images, and locations only if the operator shows them. Every key
that is not a field is a property.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from glance_registry.model.errors import Invalid
from glance_registry.model.image import ACTIVE
from glance_registry.model.status import DEACTIVATED

ANSWER_FIELDS = ("schema", "self", "file")
"""Fields of every answer of the Images API that no line of an export has."""

_FIELDS = frozenset(
    {
        *("id", "name", "status", "visibility", "protected", "os_hidden", "owner", "disk_format", "container_format"),
        *("size", "virtual_size", "min_disk", "min_ram", "checksum", "os_hash_algo", "os_hash_value", "tags"),
        *("created_at", "updated_at"),
    }
)
_LOCATIONS = frozenset({"locations", "direct_url"})
_LOCATION_FIELDS = frozenset({"url", "metadata"})
_GLANCE_FIELD = "stores"
_GLANCE_PREFIX = "os_glance"


def is_answer(fields: Mapping[str, Any]) -> bool:
    """Whether these fields come from an answer of the Images API."""
    return any(name in fields for name in ANSWER_FIELDS)


class Answers(Struct):
    """Counts such answers, and what they did not contain."""

    images: int = 0
    without_locations: int = 0
    """Active or deactivated images, which have bytes somewhere."""
    left_out: set[str] = field(default_factory=set)
    """Fields that only the Glance of the answer can use: its stores, its running tasks."""

    def add(self, fields: Mapping[str, Any]) -> None:
        self.images += 1
        has_bytes = fields.get("status") in (ACTIVE, DEACTIVATED)
        self.without_locations += has_bytes and not (fields.get("locations") or fields.get("direct_url"))
        self.left_out.update(name for name in fields if _is_for_glance_only(name))

    def sentences(self) -> Iterator[str]:
        if self.images:
            yield f"{self.images} of them are answers of the Images API, which do not include members."
        if self.without_locations:
            yield f"{self.without_locations} of these have bytes, but the answer does not say where they lie."
        if self.left_out:
            yield f"Left out, since only the Glance that wrote them can use them: {', '.join(sorted(self.left_out))}."


def as_record(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the fields to those of a line of an export. Raises Invalid."""
    record = {name: value for name, value in fields.items() if name in _FIELDS}
    properties: dict[str, str] = {}
    for name, value in fields.items():
        if name in _FIELDS or name in ANSWER_FIELDS or name in _LOCATIONS or _is_for_glance_only(name):
            continue
        # Glance shows properties that its schema lists, such as kernel_id, as null when an image does not have them.
        if value is None:
            continue
        if not isinstance(value, str):
            raise Invalid(f"Field '{name}' must be a text, as every property is in an answer of the Images API.")
        properties[name] = value
    return {**record, "properties": properties, "location_data": _locations(fields)}


def _is_for_glance_only(name: str) -> bool:
    return name == _GLANCE_FIELD or name.startswith(_GLANCE_PREFIX)


def _locations(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = fields.get("locations")
    if not isinstance(given, list | None) or not all(isinstance(entry, dict) for entry in given or ()):
        raise Invalid("Field 'locations' must be a list of objects.")
    locations: list[dict[str, Any]] = []
    for entry in given or ():
        for name in entry:
            if name not in _LOCATION_FIELDS:
                raise Invalid(f"Field 'locations' has an entry with the unknown field '{name}'.")
        if any(entry.get("url") == other.get("url") for other in locations):
            raise Invalid("Field 'locations' has the same url twice.")
        locations.append(entry)
    direct = fields.get("direct_url")
    if not isinstance(direct, str | None):
        raise Invalid("Field 'direct_url' must be a text.")
    if direct and all(entry.get("url") != direct for entry in locations):
        locations.insert(0, {"url": direct})
    return locations
