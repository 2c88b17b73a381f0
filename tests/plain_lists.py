# SPDX-License-Identifier: Apache-2.0
"""Which images a list of the Registry API has, and in what order, in the shortest Python that says it."""

from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2026, 11, 23, tzinfo=UTC)
"""When the first image is registered; the filter `changes-since` is in seconds from then."""


def matches(image: Any, name: str, value: Any) -> bool:
    """Whether an image, or a model of one, meets a filter. Those on what a caller may see are not judged here."""
    if name in ("is_public", "deleted"):
        return True
    if name == "changes-since":
        return image.updated_at > START + timedelta(seconds=value)
    if name.startswith("size_"):
        return image.size is not None and (image.size >= value if name == "size_min" else image.size <= value)
    if name.startswith("property-"):
        return image.properties.get(name.removeprefix("property-")) == value
    return bool(getattr(image, name) == value)


def sort_value(image: Any, sort_key: str) -> tuple[Any, ...]:
    """What images are sorted by: null comes first."""
    value = getattr(image, sort_key)
    least = -1 if sort_key == "size" else ""
    return (least if value is None else value, image.created_at, image.id)
