# SPDX-License-Identifier: Apache-2.0
"""The index of properties and tags: one narrow row for each of each image, in step with the image's row.

A tag is a property without a name. A property without a value has no row: nobody can ask for it.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert

from glance_registry.catalogue.rows import Stored, to_column
from glance_registry.catalogue.statements import PreparedWrite
from glance_registry.catalogue.tables import image_properties
from glance_registry.model.image import Image
from glance_registry.model.query import TAG

LONGEST_PLAIN = 255
_PREFIX = 192

_INSERT = PreparedWrite(insert(image_properties), image_properties.c.keys())
_DELETE = PreparedWrite(
    delete(image_properties).where(*(column == bindparam(f"old_{column.name}") for column in image_properties.c))
)


def search_key(value: str) -> str:
    """The value as it is in the index: itself, or the start and the SHA-256 of a long one.

    Index entries of PostgreSQL are short. The key of a long value has 256 characters and so equals no short value.
    """
    if len(value) <= LONGEST_PLAIN:
        return value
    return value[:_PREFIX] + sha256(value.encode()).hexdigest()


def add(connection: Connection, stored: Iterable[Stored]) -> None:
    """Index the properties of new images."""
    _INSERT.run_all(connection, [entry for image in stored for entry in entries(image)])


def entries(stored: Stored) -> list[dict[str, Any]]:
    """What the index must hold for an image."""
    return [_entry(stored, *pair) for pair in _pairs(stored.image)]


def replace(connection: Connection, stored: Stored, new: Image | None) -> None:
    """Bring the index of a stored image from the properties that it has to those of its new value, or to none."""
    old_pairs, new_pairs = _pairs(stored.image), _pairs(new) if new else set()
    gone = [_entry(stored, *pair) for pair in old_pairs - new_pairs]
    _DELETE.run_all(connection, [{f"old_{column}": value for column, value in entry.items()} for entry in gone])
    _INSERT.run_all(connection, [_entry(stored, *pair) for pair in new_pairs - old_pairs])


def _pairs(image: Image) -> set[tuple[str, str]]:
    texts = {(name, value) for name, value in image.properties.items() if value is not None}
    return {*texts, *((TAG, tag) for tag in image.tags)}


def _entry(stored: Stored, name: str, value: str) -> dict[str, Any]:
    return {
        "name": name,
        "value": search_key(value),
        "created_at": to_column(stored.image.created_at),
        "image_number": stored.number,
    }
