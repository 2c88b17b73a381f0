# SPDX-License-Identifier: Apache-2.0
"""The index of properties: one narrow row for each property of each image, in step with the image's row."""

from collections.abc import Mapping
from hashlib import sha256

from sqlalchemy import ColumnElement, Connection, bindparam, delete, insert, select

from glance_registry.catalogue.tables import image_properties, images

LONGEST_PLAIN = 255
_PREFIX = 192

_INSERT = insert(image_properties)
_DELETE = delete(image_properties).where(
    image_properties.c.name == bindparam("old_name"),
    image_properties.c.value == bindparam("old_value"),
    image_properties.c.image_number == bindparam("number"),
)


def search_key(value: str) -> str:
    """What stands for a value in the index: itself, or, since PostgreSQL's index entries are short, the start
    of a long one and its SHA-256. A key made so has 256 characters and thus equals no plain value."""
    if len(value) <= LONGEST_PLAIN:
        return value
    return value[:_PREFIX] + sha256(value.encode()).hexdigest()


def replace(connection: Connection, number: int, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Bring the index of the image with this number from its old properties to its new ones."""
    gone = old.items() - new.items()
    come = new.items() - old.items()
    if gone:
        connection.execute(
            _DELETE, [{"old_name": name, "old_value": search_key(value), "number": number} for name, value in gone]
        )
    if come:
        connection.execute(
            _INSERT, [{"name": name, "value": search_key(value), "image_number": number} for name, value in come]
        )


def having(name: str, value: str) -> ColumnElement[bool]:
    """The images with this property."""
    found = select(image_properties.c.image_number).where(
        image_properties.c.name == name, image_properties.c.value == search_key(value)
    )
    return images.c.number.in_(found)
