# SPDX-License-Identifier: Apache-2.0
"""One image's metadata as HTTP headers, the form in which the 2011 document answers.

`x-image-meta-<field>` and `x-image-meta-property-<name>`; a null has no header. Values are UTF-8. What a
header cannot carry is percent-encoded: characters of a property's name, and the whole value when it has
control characters or outer blanks; `x-image-meta-encoded` lists the headers with an encoded value.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote

from glance_registry.api.answer import Header
from glance_registry.api.registry.wire import ShownImage

MOST_PROPERTIES = 80
MOST_BYTES = 32 * 1024
"""Python's HTTP clients stop at 100 headers and 64 KiB (protocol, section 1)."""

_PREFIX = b"x-image-meta-"
_FIELDS = tuple(
    (name, _PREFIX + name.encode())
    for name in ShownImage.__struct_fields__
    if name not in ("properties", "location_data")
)
# RFC 9110, section 5.6.2: the characters of a header's name, less "%", which starts an encoded one.
_NAME_SAFE = "!#$&'*+.^_`|~-"
# RFC 9110, section 5.5: a value has no control characters and loses its outer blanks on the way.
_NEEDS_ENCODING = re.compile(r"[\x00-\x1f\x7f]|^\s|\s$")


def image_headers(image: ShownImage) -> list[Header]:
    """The headers of an image. Too many or too long properties are left out and counted in
    `x-image-meta-properties-omitted`; so is one whose name differs from another's only in case,
    since a header's name has none."""
    encoded: list[bytes] = []
    headers = [
        (header, _value(header, value, encoded))
        for name, header in _FIELDS
        if (value := getattr(image, name)) is not None
    ]
    properties: dict[bytes, bytes] = {}
    for name, text in image.properties.items():
        header = b"x-image-meta-property-" + quote(name.lower(), safe=_NAME_SAFE).lower().encode()
        if header not in properties:
            properties[header] = _value(header, text, encoded)
    if len(properties) > MOST_PROPERTIES or _size(headers) + _size(properties.items()) > MOST_BYTES:
        properties = {}
        encoded = [header for header in encoded if any(header == kept for kept, _ in headers)]
    headers += properties.items()
    if omitted := len(image.properties) - len(properties):
        headers.append((b"x-image-meta-properties-omitted", str(omitted).encode()))
    if encoded:
        headers.append((b"x-image-meta-encoded", b" ".join(encoded)))
    return headers


def _value(header: bytes, value: str | int | bool, encoded: list[bytes]) -> bytes:
    text = str(value)
    if _NEEDS_ENCODING.search(text):
        encoded.append(header)
        return quote(text, safe="").encode()
    return text.encode()


def _size(headers: Iterable[Header]) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers)
