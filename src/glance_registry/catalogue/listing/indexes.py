# SPDX-License-Identifier: Apache-2.0
"""The indexes: each names the query that it serves.

The migrations make them; this module says what they come to, for the test that compares and for Alembic. The
program does not load it: the options of both databases load both dialects, which costs start-up time.
"""

from sqlalchemy import Index, event

from glance_registry.catalogue.search import triggers
from glance_registry.catalogue.tables import image_members, images, metadata, sorted_as
from glance_registry.model.query import SORT_KEYS

__all__ = ["metadata"]

_LIVE = images.c.deleted_at.is_(None)
_DELETED = images.c.deleted_at.is_not(None)

# A page by each sort key, of the images of one visibility, less the deleted ones; the same with a filter on the key.
# The last tie-breaker, id, is left to a sort of the rows that agree in the rest: hardly ever more than one.
for _key in SORT_KEYS:
    _columns = [sorted_as(_key)] if _key in ("created_at", "id") else [sorted_as(_key), images.c.created_at]
    Index(f"images_by_{_key}", images.c.visibility, *_columns, sqlite_where=_LIVE, postgresql_where=_LIVE)

# Hidden images, of which there are few beside the others.
_HIDDEN = images.c.os_hidden.is_(True) & _LIVE
Index("images_hidden", images.c.visibility, images.c.created_at, sqlite_where=_HIDDEN, postgresql_where=_HIDDEN)

# "My own": the images of a project.
Index("images_owner", images.c.owner, images.c.created_at, sqlite_where=_LIVE, postgresql_where=_LIVE)

# The export of everything, and the changes since a time, deleted images included. On PostgreSQL they have an order of
# nulls that only such a list asks for. It would lead a page of one visibility along these, too: few of its blocks are
# read in the order of creation, so it seems cheap, and is a walk past very many images where others came last.
for _key in ("created_at", "updated_at"):
    Index(f"images_{_key}", images.c[_key]).ddl_if(dialect="sqlite")
    Index(f"images_{_key}", images.c[_key].nulls_first()).ddl_if(dialect="postgresql")

# An admin's page of deleted images.
Index("images_deleted", images.c.created_at, sqlite_where=_DELETED, postgresql_where=_DELETED)

# Purge: the rows deleted before a day.
Index("images_deleted_at", images.c.deleted_at, sqlite_where=_DELETED, postgresql_where=_DELETED)

# The members of an image.
Index("image_members_image", image_members.c.image_number)

# The images of words that are searched; see there.
event.listen(metadata, "after_create", lambda _, connection, **__: triggers.create(connection))
