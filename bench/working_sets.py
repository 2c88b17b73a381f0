# SPDX-License-Identifier: Apache-2.0
"""Which images are asked for: a hot set, which every cache holds, or a cold one from all over the catalogue."""

import random

from bench.catalogues import SEED
from bench.catalogues import kept as numbered
from glance_registry.model.image import Image

HOT = 200
"""Numbers of the hot set. Each image is asked for many times a second, so it is in every cache after the warm-up."""

COLD = 20_000
"""Numbers of the cold set at most: eight times as many as the program caches, and more than a round asks for."""

DIALECTS = {"": "", "Images API: ": "/v2"}
"""How the name of a measure begins for each dialect, and how the path does."""


def hot(numbers: range) -> list[Image]:
    """A few of the images of these numbers that are not deleted, from all over the catalogue."""
    return _live(numbers, HOT)


def cold(numbers: range) -> list[Image]:
    """Many of the images of these numbers that are not deleted, in random order, each once."""
    return _live(numbers, COLD)


def shows(size: int) -> dict[str, list[str]]:
    """The paths of single images, by dialect and working set."""
    sets = {"hot": hot(range(size)), "cold": cold(range(size))}
    return {
        f"{dialect}{name}": [f"{prefix}/images/{image.id}" for image in images]
        for dialect, prefix in DIALECTS.items()
        for name, images in sets.items()
    }


def pages(size: int) -> dict[str, list[str]]:
    """The paths of pages of 25, by dialect and working set.

    Hot is the first page of the public images. Cold are pages of all images, behind markers from all over the
    catalogue: those of the public ones alone would be in the caches soon, as these are few.
    """
    markers = [image.id for image in cold(range(size))]
    return {
        "hot": ["/images?limit=25"],
        "cold": [f"/images?limit=25&is_public=none&marker={marker}" for marker in markers],
        "Images API: hot": ["/v2/images?limit=25&visibility=public"],
        "Images API: cold": [f"/v2/images?limit=25&visibility=all&marker={marker}" for marker in markers],
    }


def _live(numbers: range, most: int) -> list[Image]:
    drawn = random.Random(SEED).sample(numbers, min(len(numbers), most))
    return [image for image in (numbered(number).image for number in drawn) if not image.deleted]
