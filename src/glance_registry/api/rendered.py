# SPDX-License-Identifier: Apache-2.0
"""What is sent of an image, kept with it: the catalogue hands out the same object for a row that it knows."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from glance_registry.model.image import Image

T = TypeVar("T")


def rendered(render: Callable[..., T], image: Image, *options: Hashable) -> T:
    """`render(image, *options)`, which must depend on nothing else; made once for each image. Not to be changed."""
    kept: dict[Any, T] = image.__dict__
    key = (render, *options) if options else render
    found = kept.get(key)
    if found is None:
        found = kept[key] = render(image, *options)
    return found
