# SPDX-License-Identifier: Apache-2.0
"""The size of what clients may write freely into one image, and its limit."""

import msgspec

from glance_registry.model.errors import TooLarge
from glance_registry.model.image import Image

IMAGE_DOCUMENT_BYTES = 65_536
"""Of one image, unless a setting says otherwise."""

MAX_IMAGE_DOCUMENT_BYTES = 1_073_741_824
"""What the setting may say."""

_encode = msgspec.json.Encoder().encode


def document_bytes(image: Image) -> int:
    """The bytes of an image's name, properties, tags and locations, encoded as JSON in UTF-8.

    It is the encoded size that answers, caches and columns have: a control character counts as the six bytes that it
    is sent as, so the limit bounds the answer, too.
    """
    return len(_encode((image.name, image.properties, image.tags, image.locations)))


def check_document(before: Image | None, after: Image, most: int) -> None:
    """Raise TooLarge when the image is larger than `most` bytes and larger than it was before."""
    size = document_bytes(after)
    if size > most and (before is None or size > document_bytes(before)):
        raise TooLarge(
            f"The image's name, properties, tags and locations have {size} bytes as JSON; at most {most} are allowed."
        )
