# SPDX-License-Identifier: Apache-2.0
"""The bytes of images: blobs, where they lie, uploads under way, objects to be removed.

What is added to images may be null, so that the release before this step goes on writing meanwhile. That release does
not know of blobs when it deletes an image; the reaper of this one finds them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_GUARDED = ("size", "checksum", "os_hash_algo", "os_hash_value")
_MESSAGE = "the size and digests of an image do not change while it has its bytes"


def _text(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("images", sa.Column("blob_number", _number()))
    op.add_column("images", sa.Column("stores", sa.Text))
    op.create_table(
        "blobs",
        sa.Column("number", _number(), primary_key=True),
        sa.Column("digest", _text(140), nullable=False, unique=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "blob_copies",
        sa.Column("blob_number", _number(), primary_key=True),
        sa.Column("store", _text(64), primary_key=True),
        sa.Column("key", _text(32), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "uploads",
        sa.Column("id", _text(32), primary_key=True),
        sa.Column("image_number", _number(), nullable=False, unique=True),
        sa.Column("owner", _text(255)),
        sa.Column("store", _text(64), nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "removals",
        sa.Column("key", _text(32), primary_key=True),
        sa.Column("store", _text(64), nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
    )
    with_blob = sa.text("blob_number IS NOT NULL")
    deleted = sa.text("blob_number IS NOT NULL AND deleted_at IS NOT NULL")
    live = sa.text("blob_number IS NOT NULL AND deleted_at IS NULL")
    op.create_index("images_blob", "images", ["blob_number"], sqlite_where=with_blob, postgresql_where=with_blob)
    op.create_index("images_blob_deleted", "images", ["blob_number"], sqlite_where=deleted, postgresql_where=deleted)
    op.create_index("images_bytes", "images", ["owner", "size"], sqlite_where=live, postgresql_where=live)
    op.create_index("blob_copies_key", "blob_copies", ["key"], unique=True)
    op.create_index("uploads_expires_at", "uploads", ["expires_at"])
    op.create_index("uploads_owner", "uploads", ["owner"])
    op.create_index("removals_due_at", "removals", ["due_at"])
    if op.get_bind().dialect.name == "sqlite":
        changed = " OR ".join(f"old.{name} IS NOT new.{name}" for name in _GUARDED)
        op.execute(f"""CREATE TRIGGER images_frozen_bytes BEFORE UPDATE OF {", ".join(_GUARDED)} ON images
WHEN old.blob_number IS NOT NULL AND old.blob_number IS new.blob_number AND ({changed})
BEGIN SELECT RAISE(ABORT, '{_MESSAGE}'); END""")
        return
    old, new = (", ".join(f"{row}.{name}" for name in _GUARDED) for row in ("old", "new"))
    op.execute(f"""CREATE FUNCTION images_frozen_bytes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '{_MESSAGE}' USING ERRCODE = 'integrity_constraint_violation'; END $$""")
    op.execute(f"""CREATE TRIGGER images_frozen_bytes BEFORE UPDATE OF {", ".join(_GUARDED)} ON images
FOR EACH ROW WHEN (old.blob_number IS NOT NULL AND old.blob_number = new.blob_number
AND ({old}) IS DISTINCT FROM ({new})) EXECUTE FUNCTION images_frozen_bytes()""")
