# SPDX-License-Identifier: Apache-2.0
"""Blobs: which bytes are kept, in which stores, and which objects of stores are to be removed.

Each object of a store has a key of its own that is never used again, so to remove an object can never hit bytes that
somebody has just uploaded. A blob goes with the last image that has it, in the transaction in which that image goes;
its objects are then listed in `removals` until they are gone.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, and_, delete, func, insert, select, tuple_, union_all, update

from glance_registry.catalogue.rows import Stored, to_column
from glance_registry.catalogue.sql import insert_or_ignore
from glance_registry.catalogue.tables import blob_copies, blobs, images, removals, uploads
from glance_registry.model.errors import Conflict
from glance_registry.model.image import Image
from glance_registry.model.status import SAVING

_ATTEMPTS = 5

_write_json = msgspec.json.Encoder().encode

_FORGOTTEN = and_(images.c.blob_number.is_not(None), images.c.deleted_at.is_not(None))


class Copy(NamedTuple):
    """An object in a store: a blob's, or one that is to be removed."""

    store: str
    key: str


def copies(connection: Connection, blob_number: int) -> list[Copy]:
    """Where a blob lies, sorted by the names of the stores."""
    theirs = select(blob_copies.c.store, blob_copies.c.key).where(blob_copies.c.blob_number == blob_number)
    return [Copy(row.store, row.key) for row in connection.execute(theirs.order_by(blob_copies.c.store))]


def copies_of(connection: Connection, blob_numbers: Collection[int]) -> dict[int, list[Copy]]:
    """Where these blobs lie, each sorted by the names of the stores."""
    theirs = select(blob_copies).where(blob_copies.c.blob_number.in_(blob_numbers)).order_by(blob_copies.c.store)
    found: dict[int, list[Copy]] = {}
    for row in connection.execute(theirs):
        found.setdefault(row.blob_number, []).append(Copy(row.store, row.key))
    return found


def put(
    connection: Connection, digest: str, size: int, copy: Copy, now: datetime, damaged_key: str | None = None
) -> int:
    """The number of the blob with these bytes, which now has an object in that store; locked until the commit.

    If it had one there already, the new object is to be removed; but if that one is damaged, it makes room for the new.
    """
    number = _find_or_insert(connection, digest, size, now)
    known = next((one for one in copies(connection, number) if one.store == copy.store), None)
    if known is None:
        connection.execute(insert(blob_copies).values(blob_number=number, store=copy.store, key=copy.key))
    elif known.key == damaged_key:
        theirs = (blob_copies.c.blob_number == number) & (blob_copies.c.store == copy.store)
        connection.execute(update(blob_copies).where(theirs).values(key=copy.key))
        remove_soon(connection, [known])
    else:
        remove_soon(connection, [copy])
    return number


def find_copy(connection: Connection, digest: str, store: str) -> Copy | None:
    """The object in this store of the blob with this digest."""
    found = (
        select(blob_copies.c.key)
        .join(blobs, blobs.c.number == blob_copies.c.blob_number)
        .where(blobs.c.digest == digest, blob_copies.c.store == store)
    )
    key = connection.execute(found).scalar()
    return None if key is None else Copy(store, key)


def has_copy(connection: Connection, blob_number: int, store: str) -> bool:
    """Whether a blob has an object in this store; if so, it is locked until the commit."""
    theirs = (blob_copies.c.blob_number == blob_number) & (blob_copies.c.store == store)
    return connection.execute(select(blob_copies.c.key).where(theirs).with_for_update()).first() is not None


def release_copy(connection: Connection, blob_number: int, store: str) -> None:
    """An image that had this blob in this store has it there no more. The last one takes the object with it."""
    connection.execute(select(blobs.c.number).where(blobs.c.number == blob_number).with_for_update())
    another = select(images.c.number).where(
        images.c.blob_number == blob_number,
        images.c.deleted_at.is_(None),
        images.c.stores.contains(_write_json(store).decode(), autoescape=True),
    )
    if connection.execute(another.limit(1)).first() is not None:
        return
    theirs = (blob_copies.c.blob_number == blob_number) & (blob_copies.c.store == store)
    gone = connection.execute(delete(blob_copies).where(theirs).returning(blob_copies.c.key)).scalars().all()
    remove_soon(connection, [Copy(store, key) for key in gone])


def release(connection: Connection, blob_number: int) -> None:
    """An image that had this blob has it no more. The last one takes the blob with it."""
    locked = select(blobs.c.number).where(blobs.c.number == blob_number).with_for_update()
    if connection.execute(locked).first() is None:
        return
    another = select(images.c.number).where(images.c.blob_number == blob_number, images.c.deleted_at.is_(None)).limit(1)
    if connection.execute(another).first() is not None:
        return
    remove_soon(connection, copies(connection, blob_number))
    connection.execute(delete(blob_copies).where(blob_copies.c.blob_number == blob_number))
    connection.execute(delete(blobs).where(blobs.c.number == blob_number))


def remove_soon(connection: Connection, objects: Sequence[Copy]) -> None:
    """Have objects removed from their stores."""
    if objects:
        rows = [{"key": one.key, "store": one.store, "due_at": 0} for one in objects]
        connection.execute(insert(removals), rows)


def is_work_waiting(connection: Connection, now: datetime) -> bool:
    """Whether the reaper has something to do. Reads one entry of each index.

    An upload has expired, the release before this one has deleted an image with a blob, or an object is to be removed.
    """
    at = to_column(now)
    waiting = union_all(
        select(uploads.c.id).where(uploads.c.expires_at < at).limit(1).subquery().select(),
        select(images.c.id).where(_FORGOTTEN).limit(1).subquery().select(),
        select(removals.c.key).where(removals.c.due_at <= at).limit(1).subquery().select(),
    )
    return connection.execute(waiting.limit(1)).first() is not None


def claim(connection: Connection, now: datetime, due_again: datetime, limit: int) -> list[Copy]:
    """Up to `limit` objects that are to be removed, those that are due longest first.

    They are due again at `due_again`. From now on nobody can take them from the list and give them to an image.
    """
    found = select(removals.c.key).where(removals.c.due_at <= to_column(now)).order_by(removals.c.due_at).limit(limit)
    chosen = removals.c.key.in_(connection.execute(found.with_for_update(skip_locked=True)).scalars().all())
    claimed = update(removals).where(chosen).values(due_at=to_column(due_again))
    return [Copy(*row) for row in connection.execute(claimed.returning(removals.c.store, removals.c.key))]


def removed(connection: Connection, keys: Sequence[str]) -> None:
    """These objects are gone from their stores."""
    connection.execute(delete(removals).where(removals.c.key.in_(keys)))


def release_deleted(connection: Connection, limit: int) -> int:
    """Release the blobs of up to `limit` images that the release before this one deleted; how many these were.

    That release does not know of blobs.
    """
    forgotten = select(images.c.number, images.c.blob_number).where(_FORGOTTEN)
    rows = connection.execute(forgotten.limit(limit)).all()
    for row in rows:
        unset = images.update().where(images.c.number == row.number).values(blob_number=None, stores=None)
        connection.execute(unset)
        release(connection, row.blob_number)
    return len(rows)


def known_keys(connection: Connection, store: str, keys: Sequence[str]) -> set[str]:
    """Which of these keys of a store some row refers to: a blob, an upload, a removal."""
    return {
        key
        for table, column in ((blob_copies, blob_copies.c.key), (uploads, uploads.c.id), (removals, removals.c.key))
        for key in connection.execute(select(column).where(table.c.store == store, column.in_(keys))).scalars()
    }


class StoredCopy(NamedTuple):
    """A copy, and what is known of its bytes."""

    blob_number: int
    store: str
    key: str
    size: int
    digest: str
    """`sha512:` or another algorithm's name, and hexadecimal digits."""


def copies_after(connection: Connection, blob_number: int, store: str, limit: int) -> list[StoredCopy]:
    """Up to `limit` copies after the given one, in the order of blob and store. The first one is after (0, "")."""
    joined = blob_copies.join(blobs, blobs.c.number == blob_copies.c.blob_number)
    key = (blob_copies.c.blob_number, blob_copies.c.store)
    found = select(*key, blob_copies.c.key, blobs.c.size, blobs.c.digest).select_from(joined).order_by(*key)
    rows = connection.execute(found.where(tuple_(*key) > tuple_(blob_number, store)).limit(limit))
    return [StoredCopy(*row) for row in rows]


def is_copy(connection: Connection, blob_number: int, key: str) -> bool:
    """Whether a blob still has this object."""
    found = select(blob_copies.c.key).where(blob_copies.c.blob_number == blob_number, blob_copies.c.key == key)
    return connection.execute(found).first() is not None


def image_ids(connection: Connection, blob_number: int, limit: int) -> list[str]:
    """The ids of up to `limit` images that have a blob."""
    theirs = select(images.c.id).where(images.c.blob_number == blob_number, images.c.deleted_at.is_(None))
    return list(connection.execute(theirs.order_by(images.c.id).limit(limit)).scalars())


def objects_by_store(connection: Connection) -> dict[str, int]:
    """How many objects of each store rows refer to. Reads the tables of copies, uploads and removals."""
    counts: dict[str, int] = {}
    for table in (blob_copies, uploads, removals):
        found = select(table.c.store, func.count().label("objects")).group_by(table.c.store)
        for row in connection.execute(found):
            counts[row.store] = counts.get(row.store, 0) + row.objects
    return counts


def forget_uploads(connection: Connection, image_numbers: Sequence[int]) -> None:
    """Images go while their bytes come: what has come is to be removed."""
    gone = delete(uploads).where(uploads.c.image_number.in_(image_numbers)).returning(uploads.c.store, uploads.c.id)
    remove_soon(connection, [Copy(row.store, row.id) for row in connection.execute(gone).all()])


def after_save(connection: Connection, number: int, old: Image, new: Image) -> None:
    """Let go of the bytes that a saved image has no more, and of those that were still coming."""
    if old.blob_number is not None and new.blob_number != old.blob_number:
        release(connection, old.blob_number)
    if new.deleted and old.status == SAVING:
        forget_uploads(connection, [number])


def after_purge(connection: Connection, gone: Sequence[Stored]) -> None:
    """Let go of the bytes of images whose rows go. The release before blobs deletes images without doing so."""
    for stored in gone:
        if stored.image.blob_number is not None:
            release(connection, stored.image.blob_number)
    forget_uploads(connection, [stored.number for stored in gone])


def _find_or_insert(connection: Connection, digest: str, size: int, now: datetime) -> int:
    locked = select(blobs.c.number).where(blobs.c.digest == digest).with_for_update()
    new = insert_or_ignore(connection, blobs).values(digest=digest, size=size, created_at=to_column(now))
    # Another transaction may insert the same blob, or remove it, between two of these statements.
    for _ in range(_ATTEMPTS):
        number: int | None = connection.execute(locked).scalar()
        if number is None:
            number = connection.execute(new.returning(blobs.c.number)).scalar()
        if number is not None:
            return number
    raise Conflict("The same bytes are uploaded and removed by others at the same time; try again.")
