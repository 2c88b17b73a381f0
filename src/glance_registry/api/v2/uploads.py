# SPDX-License-Identifier: Apache-2.0
"""Uploads that go on after a break.

The names of headers and their meaning are those of the Internet-Draft "Resumable Uploads for HTTP"
(draft-ietf-httpbis-resumable-upload). Where an upload is created is our own: under its image.
"""

import re
from datetime import datetime

from msgspec import Struct

from glance_registry.api.errors import UnsupportedType
from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, Header, empty_answer, json_answer
from glance_registry.api.v2.conditional import precondition
from glance_registry.catalogue import resumable as rows
from glance_registry.model.errors import Invalid
from glance_registry.transfer import resumable
from glance_registry.transfer.resumable import Piece, Progress

PARTIAL = "application/partial-upload"

_NUMBER = re.compile(r"\d{1,15}", re.ASCII)  # An Integer of RFC 9651 has 15 digits.


class ListedUpload(Struct, kw_only=True):
    """An upload under way."""

    id: str
    store: str
    offset: int | None
    """Bytes that are kept; null while a request writes. HEAD of the upload tells."""
    length: int | None
    expires_at: datetime
    self: str


class ListedUploads(Struct):
    """The uploads of an image: one at most."""

    uploads: list[ListedUpload]


async def list_uploads(request: Request) -> Answer:
    """The upload of an image that can go on after a break, for a client that lost its URL."""
    found = await request.registry.catalogue.read(rows.find_all, request.image_id, request.caller)
    uploads = [
        ListedUpload(
            id=one.id,
            store=one.store,
            offset=one.kept,
            length=one.length,
            expires_at=one.expires_at,
            self=_path(request.image_id, one.id),
        )
        for one in found
    ]
    return json_answer(ListedUploads(uploads))


async def create_upload(request: Request) -> Answer:
    """Begins an upload of a queued image's bytes that can go on after a break. Location says where."""
    await _refuse_body(request)
    upload_id = await resumable.begin(
        request.registry.transfers,
        request.image_id,
        request.caller,
        length=_number(request, "upload-length"),
        store_name=request.headers.get("x-image-meta-store") or None,
        condition=precondition(request),
    )
    answer = empty_answer()
    answer.status_code = 201
    answer.raw_headers = [
        (b"content-length", b"0"),
        (b"location", _path(request.image_id, upload_id).encode()),
        (b"upload-offset", b"0"),
        _limit(request, None),
    ]
    return answer


async def update_upload(request: Request) -> Answer:
    """Appends to an upload; the image is active after the last piece, which says Upload-Complete: ?1."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != PARTIAL:
        raise UnsupportedType(f"The Content-Type of a piece of an upload must be {PARTIAL}.", (PARTIAL,))
    offset = _number(request, "upload-offset")
    if offset is None:
        raise Invalid("Upload-Offset must say where in the image this piece begins.")
    done = await resumable.append(
        request.registry.transfers,
        request.image_id,
        request.parts["upload_id"],
        request.stream_body(),
        request.caller,
        Piece(offset=offset, last=_is_last(request), length=_number(request, "upload-length")),
        precondition(request),
    )
    return _progress(request, done)


async def show_upload(request: Request) -> Answer:
    """How far an upload has come; a request that is still appending to it is ended."""
    found = await resumable.progress(
        request.registry.transfers, request.image_id, request.parts["upload_id"], request.caller
    )
    answer = _progress(request, found)
    answer.cache_control = (b"cache-control", b"no-store")
    return answer


async def delete_upload(request: Request) -> Answer:
    """Gives an upload up: its bytes are removed, and the image is queued again."""
    await resumable.cancel(request.registry.transfers, request.image_id, request.parts["upload_id"], request.caller)
    return empty_answer()


def _path(image_id: str, upload_id: str) -> str:
    return f"/v2/images/{image_id}/uploads/{upload_id}"


def _progress(request: Request, found: Progress) -> Answer:
    answer = empty_answer()
    answer.raw_headers = [
        (b"upload-offset", str(found.offset).encode()),
        (b"upload-complete", b"?1" if found.complete else b"?0"),
    ]
    if found.length is not None:
        answer.raw_headers.append((b"upload-length", str(found.length).encode()))
    if not found.complete:
        answer.raw_headers.append(_limit(request, found.expires_at))
    return answer


def _limit(request: Request, expires_at: datetime | None) -> Header:
    """What an upload may have: bytes in all, and seconds until it expires."""
    registry = request.registry
    age = registry.transfers.upload_expiry if expires_at is None else expires_at - registry.now()
    largest = registry.transfers.image_size_cap
    return b"upload-limit", f"max-size={largest}, max-age={max(0, int(age.total_seconds()))}".encode()


def _number(request: Request, name: str) -> int | None:
    given = request.headers.get(name)
    if given is None:
        return None
    if not _NUMBER.fullmatch(given.strip()):
        raise Invalid(f"{name.title()} must be a whole number of at most 15 digits.")
    return int(given)


def _is_last(request: Request) -> bool:
    given = request.headers.get("upload-complete", "").strip()
    if given not in ("?0", "?1"):
        raise Invalid("Upload-Complete must be ?1 if the image ends with this piece, else ?0.")
    return given == "?1"


async def _refuse_body(request: Request) -> None:
    if await request.read_body():
        raise Invalid("An upload begins without a body; send the bytes with PATCH to where Location says.")
