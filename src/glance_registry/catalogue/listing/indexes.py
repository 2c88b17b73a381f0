# SPDX-License-Identifier: Apache-2.0
"""The indexes: each names the query that it serves.

Migrations create them. This module defines the result, for Alembic and for the test that compares both. The program
does not load it, because the options of both databases load both dialects, which costs start-up time.
"""

from sqlalchemy import Index, event

from glance_registry.catalogue.search import triggers
from glance_registry.catalogue.tables import blob_copies, image_members, images, metadata, removals, sorted_as, uploads
from glance_registry.model.query import SORT_KEYS

__all__ = ["metadata"]

_LIVE = images.c.deleted_at.is_(None)
_DELETED = images.c.deleted_at.is_not(None)

# Pages by each sort key, and filters on it: images of one visibility that are not deleted. The last key of the order,
# id, is not in the index: rows that agree in the other keys are sorted, and there is hardly ever more than one.
for _key in SORT_KEYS:
    _columns = [sorted_as(_key)] if _key in ("created_at", "id") else [sorted_as(_key), images.c.created_at]
    Index(f"images_by_{_key}", images.c.visibility, *_columns, sqlite_where=_LIVE, postgresql_where=_LIVE)

# Hidden images, of which there are few.
_HIDDEN = images.c.os_hidden.is_(True) & _LIVE
Index("images_hidden", images.c.visibility, images.c.created_at, sqlite_where=_HIDDEN, postgresql_where=_HIDDEN)

# "My own": the images of a project.
Index("images_owner", images.c.owner, images.c.created_at, sqlite_where=_LIVE, postgresql_where=_LIVE)

# The export of everything, and the changes since a time, with deleted images. On PostgreSQL they have an order of nulls
# that only such lists ask for. Otherwise PostgreSQL would use them for pages of one visibility, too: that seems cheap,
# since images lie in the order of creation, but it would skip very many images if the newest have another visibility.
for _key in ("created_at", "updated_at"):
    Index(f"images_{_key}", images.c[_key]).ddl_if(dialect="sqlite")
    Index(f"images_{_key}", images.c[_key].nulls_first()).ddl_if(dialect="postgresql")

# An admin's page of deleted images.
Index("images_deleted", images.c.created_at, sqlite_where=_DELETED, postgresql_where=_DELETED)

# Purge: the rows deleted before a day.
Index("images_deleted_at", images.c.deleted_at, sqlite_where=_DELETED, postgresql_where=_DELETED)

# The images that have a blob: the last one to go takes the blob with it. An owner's bytes, summed from the index alone.
_WITH_BLOB = images.c.blob_number.is_not(None)
Index("images_blob", images.c.blob_number, sqlite_where=_WITH_BLOB, postgresql_where=_WITH_BLOB)
Index(
    "images_bytes", images.c.owner, images.c.size, sqlite_where=_WITH_BLOB & _LIVE, postgresql_where=_WITH_BLOB & _LIVE
)

# What the release before blobs deleted without knowing of them.
_FORGOTTEN = _WITH_BLOB & _DELETED
Index("images_blob_deleted", images.c.blob_number, sqlite_where=_FORGOTTEN, postgresql_where=_FORGOTTEN)

# Which objects of a store are known. No two blobs share an object.
Index("blob_copies_key", blob_copies.c.key, unique=True)

# The reaper: uploads that nobody renews, objects that are due. Quotas: the uploads of a project.
Index("uploads_expires_at", uploads.c.expires_at)
Index("uploads_owner", uploads.c.owner)
Index("removals_due_at", removals.c.due_at)

# The members of an image.
Index("image_members_image", image_members.c.image_number)

# The index of words: see `search/triggers.py`.
event.listen(metadata, "after_create", lambda _, connection, **__: triggers.create(connection))
