# SPDX-License-Identifier: Apache-2.0
"""Uploads that go on after a break, beside those of `uploads.py`, whose table they share.

One request at a time writes the object. It holds the upload until a time that it puts off again and again; when its
process dies, the time passes. A newer request asks the one that writes to stop, because a client whose connection died
without a word sends a new request long before the server notices.
"""

from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection, RowMapping, Update, select, update

from glance_registry.catalogue import uploads as uploads_of_all
from glance_registry.catalogue.lookup import locked_number, read_visible
from glance_registry.catalogue.rows import Stored, from_column, to_column
from glance_registry.catalogue.tables import blob_copies, uploads
from glance_registry.catalogue.uploads import StoredBytes
from glance_registry.model.access import Caller, check_may_modify
from glance_registry.model.changes import ANY, Precondition
from glance_registry.model.errors import Gone, NotFound, UploadTaken
from glance_registry.model.image import Image
from glance_registry.model.limits import OwnerLimits

_NOT_FOUND = "The image has no such upload: it has ended or expired, or the image was deleted."
_TAKEN = "A newer request goes on with this upload."


class ResumableUpload(Struct, frozen=True, kw_only=True):
    """An upload between its requests, or while one of them writes."""

    id: str
    store: str
    length: int | None
    """Bytes of the whole image; None while nobody knows."""
    kept: int | None
    """Bytes that the store has; None while somebody writes, or when a writer died: then the store must be asked."""
    reserved: int
    expires_at: datetime
    writer: str | None
    writer_until: datetime | None
    """The writer has died if it has not put this off."""
    next_writer: str | None
    """Who waits for the writer to stop."""

    def is_written(self, now: datetime) -> bool:
        """Whether some request holds the upload."""
        return self.writer is not None and self.writer_until is not None and self.writer_until >= now

    def is_checked(self, now: datetime) -> bool:
        """Whether all bytes have come, and some request makes the image active."""
        return self.is_written(now) and self.kept is not None


class FoundUpload(Struct, frozen=True):
    """An upload and its image."""

    image: Image
    upload: ResumableUpload | None
    """None: the upload has made the image active."""


def find(
    connection: Connection, image_id: str, upload_id: str, caller: Caller, condition: Precondition = ANY
) -> FoundUpload:
    """An image's upload, also when it has made the image active and nobody has deleted the image since.

    Who may not change the image has no business with its uploads. Raises NotFound, Forbidden, PreconditionFailed.
    """
    stored = _readable(connection, image_id, caller, condition)
    row = _row(connection, upload_id)
    if row is not None and row["image_number"] == stored.number:
        return FoundUpload(stored.image, _as_upload(row))
    if stored.image.blob_number is not None:
        # The object has the upload's id as its key, unless the store had the same bytes already.
        mine = select(blob_copies.c.key).where(
            blob_copies.c.blob_number == stored.image.blob_number, blob_copies.c.key == upload_id
        )
        if connection.execute(mine).first() is not None:
            return FoundUpload(stored.image, None)
    raise NotFound(_NOT_FOUND)


def find_all(connection: Connection, image_id: str, caller: Caller) -> list[ResumableUpload]:
    """The resumable uploads of an image: one at most. Raises NotFound, Forbidden."""
    number = _readable(connection, image_id, caller, ANY).number
    theirs = select(uploads).where(uploads.c.image_number == number, uploads.c.resumable.is_(True))
    return [_as_upload(row) for row in connection.execute(theirs).mappings()]


def claim(connection: Connection, upload_id: str, writer: str, now: datetime, until: datetime) -> ResumableUpload:
    """Hold an upload until then, or ask the one that holds it to stop; the upload as it was before.

    It is held now unless it `is_written` in what is returned. Raises NotFound.
    """
    locked = select(uploads).where(uploads.c.id == upload_id, uploads.c.resumable.is_(True)).with_for_update()
    row = connection.execute(locked).mappings().first()
    if row is None:
        raise NotFound(_NOT_FOUND)
    found = _as_upload(row)
    if found.is_checked(now):
        return found
    if found.is_written(now):
        changed: dict[str, str | int | None] = {"next_writer": writer}
    else:
        changed = {"writer": writer, "writer_until": to_column(until), "next_writer": None, "kept": None}
    connection.execute(update(uploads).where(uploads.c.id == upload_id).values(changed))
    return found


def look(connection: Connection, upload_id: str) -> ResumableUpload:
    """An upload, for who holds it or waits for it. Raises Gone when it has ended."""
    row = _row(connection, upload_id)
    if row is None:
        raise Gone(_NOT_FOUND)
    return _as_upload(row)


def hold(
    connection: Connection,
    upload_id: str,
    writer: str,
    until: datetime,
    expires_at: datetime,
    reserved: int,
    limits: OwnerLimits,
) -> None:
    """Go on holding an upload, keep it from expiring, and reserve so many bytes for it in all.

    Raises Gone, UploadTaken; TooLarge when the image's owner may not have so many bytes.
    """
    _check_held(connection, upload_id, writer)
    uploads_of_all.renew(connection, upload_id, reserved, limits, expires_at)
    connection.execute(_held(upload_id, writer).values(writer_until=to_column(until)))


def seal(connection: Connection, upload_id: str, writer: str, size: int) -> None:
    """All bytes have come: from now on nobody takes the upload from its writer. Raises Gone, UploadTaken."""
    _check_held(connection, upload_id, writer)
    connection.execute(_held(upload_id, writer).values(length=size, kept=size))


def release(
    connection: Connection,
    upload_id: str,
    writer: str,
    kept: int | None,
    length: int | None = None,
    expires_at: datetime | None = None,
) -> None:
    """Hold an upload no more, of which the store has so many bytes; None: nobody knows how many.

    `length` and `expires_at` are changed if they are given. When another one has taken the upload meanwhile, nothing
    is. Raises Gone.
    """
    ended: dict[str, int | None] = {"writer": None, "writer_until": None, "kept": kept}
    if length is not None:
        ended["length"] = length
    if expires_at is not None:
        ended["expires_at"] = to_column(expires_at)
    changed = connection.execute(_held(upload_id, writer).values(ended))
    if changed.rowcount == 0 and _row(connection, upload_id) is None:
        raise Gone(_NOT_FOUND)


def finish(
    connection: Connection,
    upload_id: str,
    writer: str,
    found: StoredBytes,
    now: datetime,
    caller: Caller,
    condition: Precondition,
) -> Image:
    """Make the image active, if the caller may still change it: rights may have changed while the bytes came.

    Raises what `uploads.finish` raises; UploadTaken, Forbidden, PreconditionFailed.
    """
    image = locked_number(connection, _check_held(connection, upload_id, writer))
    check_may_modify(caller, image)
    condition.check(image)
    return uploads_of_all.finish(connection, upload_id, found, now)


def _readable(connection: Connection, image_id: str, caller: Caller, condition: Precondition) -> Stored:
    stored = read_visible(connection, image_id, caller)
    if stored.image.deleted:
        raise NotFound("Image not found")
    check_may_modify(caller, stored.image)
    condition.check(stored.image)
    return stored


def _check_held(connection: Connection, upload_id: str, writer: str) -> int:
    """The number of the upload's image, if this writer still holds the upload, which is then locked."""
    found = select(uploads.c.writer, uploads.c.image_number).where(uploads.c.id == upload_id)
    row = connection.execute(found.with_for_update()).first()
    if row is None:
        raise Gone(_NOT_FOUND)
    if row.writer != writer:
        raise UploadTaken(_TAKEN)
    number: int = row.image_number
    return number


def _row(connection: Connection, upload_id: str) -> RowMapping | None:
    found = select(uploads).where(uploads.c.id == upload_id, uploads.c.resumable.is_(True))
    return connection.execute(found).mappings().first()


def _held(upload_id: str, writer: str) -> Update:
    return update(uploads).where(uploads.c.id == upload_id, uploads.c.writer == writer)


def _as_upload(row: RowMapping) -> ResumableUpload:
    until = row["writer_until"]
    return ResumableUpload(
        id=row["id"],
        store=row["store"],
        length=row["length"],
        kept=row["kept"],
        reserved=row["reserved"],
        expires_at=from_column(row["expires_at"]),
        writer=row["writer"],
        writer_until=None if until is None else from_column(until),
        next_writer=row["next_writer"],
    )
