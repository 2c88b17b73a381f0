# SPDX-License-Identifier: Apache-2.0
"""One image's metadata as HTTP headers, the form in which the 2011 document answers.

`x-image-meta-<field>` and `x-image-meta-property-<name>`; a null has no header. Values are UTF-8. What a
header cannot carry is percent-encoded: characters of a property's name, and the whole value when it has
control characters or outer blanks; `x-image-meta-encoded` lists the headers with an encoded value.
"""

import re
from functools import lru_cache
from itertools import chain
from urllib.parse import quote

from glance_registry.api.registry import wire
from glance_registry.api.responses import Header

MAX_HEADER_PROPERTIES = 80
MAX_HEADER_BYTES = 32 * 1024
MAX_HEADERS = 95
"""Python's HTTP clients stop at 100 headers and 64 KiB (protocol, section 1); some are not about the image."""

SURELY_SHORT_BODY = 3_000
"""An image whose JSON body has so many bytes at most has less than 32 KiB of headers, even if every text is
percent-encoded, which triples it, and every property's name is there a second time as an encoded one."""

_PREFIX = b"x-image-meta-"
_FREE_TEXT = frozenset({"name", "owner", "checksum", "disk_format", "container_format", "location"})
_FIELDS = tuple(
    (name, _PREFIX + name.encode(), name in _FREE_TEXT)
    for name in wire.ShownImage.__struct_fields__
    if name not in ("properties", "location_data")
)
# RFC 9110, section 5.6.2: the characters of a header's name, less "%", which starts an encoded one.
_NAME_SAFE = "!#$&'*+.^_`|~-"
# RFC 9110, section 5.5: a value has no control characters and loses its outer blanks on the way.
_NEEDS_ENCODING = re.compile(r"[\x00-\x1f\x7f]|^\s|\s$")


def image_headers(shown: wire.ShownImage, json_bytes: int) -> list[Header]:
    """The headers of an image whose JSON has so many bytes.

    Properties that are too many or too long are left out and counted in `x-image-meta-properties-omitted`. So is a
    property whose name differs from another one only in case, because header names have no case.
    """
    encoded: list[bytes] = []
    headers = [
        (header, _value(header, value, encoded) if is_free_text else str(value).encode())
        for name, header, is_free_text in _FIELDS
        if (value := getattr(shown, name)) is not None
    ]
    encoded_fields = len(encoded)
    properties: dict[bytes, bytes] = {}
    texts = {name: text for name, text in shown.properties.items() if text is not None}
    for name, text in texts.items():
        header = _property_header(name)
        if header not in properties:
            properties[header] = _value(header, text, encoded)
    if _are_too_many(headers, properties) or (
        json_bytes > SURELY_SHORT_BODY and _are_too_long(headers, properties, encoded)
    ):
        properties = {}
        del encoded[encoded_fields:]
    headers += properties.items()
    if omitted := len(texts) - len(properties):
        headers.append((b"x-image-meta-properties-omitted", str(omitted).encode()))
    if encoded:
        headers.append((b"x-image-meta-encoded", b" ".join(encoded)))
    return headers


@lru_cache(maxsize=4096)
def _property_header(name: str) -> bytes:
    """The same names come again and again, on every image."""
    return b"x-image-meta-property-" + quote(name.lower(), safe=_NAME_SAFE).lower().encode()


def _value(header: bytes, text: str, encoded: list[bytes]) -> bytes:
    # Most texts are printable and start and end so: that is quicker to see than to search for what must be encoded.
    if not (text.isprintable() and text[:1] != " " != text[-1:]) and _NEEDS_ENCODING.search(text):
        encoded.append(header)
        return quote(text, safe="").encode()
    return text.encode()


def _are_too_many(headers: list[Header], properties: dict[bytes, bytes]) -> bool:
    # Two more may follow: how many properties were omitted, and what is encoded.
    return len(properties) > MAX_HEADER_PROPERTIES or len(headers) + len(properties) + 2 > MAX_HEADERS


def _are_too_long(headers: list[Header], properties: dict[bytes, bytes], encoded: list[bytes]) -> bool:
    texts = list(chain(encoded, chain.from_iterable(headers), chain.from_iterable(properties.items())))
    return len(b"".join(texts)) + 2 * len(texts) > MAX_HEADER_BYTES
