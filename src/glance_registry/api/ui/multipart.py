# SPDX-License-Identifier: Apache-2.0
"""A form with one file, read as it comes. Source of the rules: RFC 7578; RFC 2046, section 5.1.1."""

import re
from collections.abc import AsyncGenerator, AsyncIterator

from glance_registry.api.errors import UnsupportedType
from glance_registry.model.errors import Invalid

MEDIA_TYPE = "multipart/form-data"

MAX_HEAD_BYTES = 16_384
"""Before the file: the delimiter and the part's headers, with the file's name. Also after it."""

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;",]{1,70})(?=[\s;]|$))', re.ASCII | re.IGNORECASE)
_FILE_NAME = re.compile(rb'^content-disposition:[^\r\n]*;\s*filename="([^"\r\n]*)"', re.IGNORECASE | re.MULTILINE)


def boundary_of(content_type: str) -> bytes:
    """What separates the parts of such a form. Raises UnsupportedType, Invalid."""
    if content_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise UnsupportedType(f"The Content-Type of a form with a file must be {MEDIA_TYPE}.", ())
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise Invalid("The form's Content-Type has no boundary.")
    return (found[1] or found[2]).encode("latin-1")


async def read_file(body: AsyncIterator[bytes], boundary: bytes) -> AsyncGenerator[bytes, None]:
    """The bytes of the form's only file. Raises Invalid; and what `body` raises.

    Memory: what `body` gives at once, and a delimiter.
    """
    delimiter = b"\r\n--" + boundary
    data = b"\r\n"  # The first delimiter is the only one without a line break before it.
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += await _next(body)
        if len(data) > MAX_HEAD_BYTES and b"\r\n\r\n" not in data[:MAX_HEAD_BYTES]:
            raise Invalid(f"The form has no file within its first {MAX_HEAD_BYTES} bytes.")
    _check_head(data[:end], delimiter)
    data = data[end + 4 :]
    while (end := data.find(delimiter)) < 0:
        # The end of what came may be the beginning of a delimiter.
        certain = max(0, len(data) - len(delimiter) + 1)
        if certain:
            yield data[:certain]
        data = data[certain:] + await _next(body)
    if end:
        yield data[:end]
    rest = data[end + len(delimiter) :]
    async for part in body:
        rest += part
        if len(rest) > MAX_HEAD_BYTES:
            break
    if rest.strip() != b"--":
        raise Invalid("The form has more than one file.")


def _check_head(head: bytes, delimiter: bytes) -> None:
    found = _FILE_NAME.search(head)
    if not head.startswith(delimiter) or found is None:
        raise Invalid("The form's first part is not a file.")
    if not found[1]:
        raise Invalid("Choose a file first.")


async def _next(body: AsyncIterator[bytes]) -> bytes:
    async for part in body:
        return part
    raise Invalid("The form ended before its file did.")
