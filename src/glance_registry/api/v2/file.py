# SPDX-License-Identifier: Apache-2.0
"""The bytes of images: upload and download.

Source of the rules: the conversations with Glance 33, and RFC 9110 for what these leave out (ETag, If-Range, HEAD).
"""

import re

from glance_registry.api.errors import RangeNotSatisfiable, UnsupportedType
from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, Header, bytes_answer, empty_answer
from glance_registry.api.v2.conditional import is_known, not_modified, precondition
from glance_registry.catalogue import images
from glance_registry.model.errors import Forbidden, Invalid, NotFound
from glance_registry.model.image import ACTIVE, Image
from glance_registry.model.status import DEACTIVATED
from glance_registry.transfer.download import open_bytes
from glance_registry.transfer.upload import upload

BYTES = "application/octet-stream"

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.ASCII | re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"\s*bytes\s+(\d+)-(\d+)/(\d+|\*)\s*", re.ASCII | re.IGNORECASE)


async def show_file(request: Request) -> Answer:
    """An image's bytes, or a range of them; 204 while there are none."""
    return await open_file(request, await request.registry.catalogue.read(images.get, request.image_id, request.caller))


async def open_file(request: Request, image: Image) -> Answer:
    """The answer with the bytes of an image that the caller may see."""
    if image.status == DEACTIVATED and not request.caller.admin:
        raise Forbidden("The image is deactivated: nobody but an admin gets its bytes.")
    if image.status not in (ACTIVE, DEACTIVATED):
        return empty_answer()
    if image.blob_number is None:
        return _not_ours(image)
    assert image.size is not None
    etag = f'"{image.os_hash_value}"'
    headers: list[Header] = [(b"etag", etag.encode()), (b"accept-ranges", b"bytes")]
    if is_known(request, etag):
        return not_modified(headers)
    if image.checksum:
        # Compat: hexadecimal, and of the whole image also beside a range, as clients expect.
        headers.append((b"content-md5", image.checksum.encode()))
    start, end, status = _range(request, image.size, etag)
    headers.append((b"content-length", str(end - start).encode()))
    if status == 206:
        headers.append((b"content-range", f"bytes {start}-{end - 1}/{image.size}".encode()))
    prefer = [name.strip() for name in request.query_params.get("prefer", "").split(",") if name.strip()]
    first, following = await open_bytes(request.registry.transfers, image, start, end, prefer)
    return bytes_answer(first, following, status, headers)


async def replace_file(request: Request) -> Answer:
    """Gives a queued image its bytes; it is active from then on."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != BYTES:
        raise UnsupportedType(f"The Content-Type of an image's bytes must be {BYTES}.", (BYTES,))
    await upload(
        request.registry.transfers,
        request.image_id,
        request.stream_body(),
        request.caller,
        announced=_announced(request),
        store_name=request.headers.get("x-image-meta-store") or None,
        condition=precondition(request),
    )
    return empty_answer()


def _announced(request: Request) -> int:
    """How many bytes the client says that it sends; 0 when it does not say. Raises Invalid."""
    given = request.headers.get("x-openstack-image-size") or request.headers.get("content-length") or "0"
    if not re.fullmatch(r"\d{1,19}", given.strip(), re.ASCII):
        raise Invalid("The size of the image, in X-OpenStack-Image-Size or Content-Length, must be a whole number.")
    return int(given)


def _range(request: Request, size: int, etag: str) -> tuple[int, int, int]:
    """From which byte to before which one, and the status: 200 for all, 206 for a range.

    Raises RangeNotSatisfiable, Invalid for several ranges.
    """
    given = request.headers.get("range")
    if given is not None and request.headers.get("if-range", etag).strip() == etag:
        if "," in given:
            raise Invalid("One range at a time: several in one request are not supported.")
        return *_bounds(_RANGE.fullmatch(given), size), 206
    # Compat: clients of old ask with Content-Range, which belongs to answers.
    given = request.headers.get("content-range")
    if given is None:
        return 0, size, 200
    return *_bounds(_CONTENT_RANGE.fullmatch(given), size), 206


def _bounds(found: re.Match[str] | None, size: int) -> tuple[int, int]:
    if found is None or not (found[1] or found[2]):
        raise RangeNotSatisfiable(size)
    if not found[1]:  # The last bytes.
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
    if not 0 <= start < end:
        raise RangeNotSatisfiable(size)
    return start, end


def _not_ours(image: Image) -> Answer:
    """An image whose bytes an API server keeps, or that became active without any."""
    if image.size == 0 and not image.locations:
        digest = [(b"content-md5", image.checksum.encode())] if image.checksum else []
        return Answer(b"", BYTES.encode(), headers=digest)
    raise NotFound("The image's bytes are not kept here; its locations say where they are.")
