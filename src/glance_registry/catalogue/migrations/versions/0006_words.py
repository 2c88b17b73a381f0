# SPDX-License-Identifier: Apache-2.0
"""The index of words, with triggers: an older release that goes on writing keeps it without knowing it."""

from alembic import op
from sqlalchemy import Connection

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    for statement in _SQLITE if connection.dialect.name == "sqlite" else _on_postgresql(connection):
        connection.exec_driver_sql(statement).close()


def _on_postgresql(connection: Connection) -> list[str]:
    """The statements with a collation that knows all alphabets: the first of these that the server has."""
    known = set(connection.exec_driver_sql("SELECT collname FROM pg_collation").scalars())
    collation = next((name for name in ("pg_c_utf8", "und-x-icu", "C.utf8") if name in known), "default")
    return [statement.replace("COLLATION", collation) for statement in _POSTGRESQL]


_SQLITE = (
    (
        "CREATE VIRTUAL TABLE image_words USING fts5("
        "words, content='', columnsize=0, tokenize='unicode61 remove_diacritics 2')"
    ),
    "CREATE VIRTUAL TABLE image_words_places USING fts5vocab(image_words, instance)",
    """CREATE TRIGGER image_words_add AFTER INSERT ON images WHEN new.deleted_at IS NULL BEGIN
INSERT INTO image_words (rowid, words) SELECT new.number, substr(coalesce(new.name, '')
|| ' ' || CASE WHEN json_valid(new.tags)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(new.tags)), '') ELSE '' END
|| ' ' || CASE WHEN json_valid(new.properties)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(new.properties)), '') ELSE '' END
, 1, 50000);
END""",
    """CREATE TRIGGER image_words_change AFTER UPDATE OF name, tags, properties, deleted_at ON images
WHEN old.name IS NOT new.name OR old.tags IS NOT new.tags OR old.properties IS NOT new.properties
OR old.deleted_at IS NOT new.deleted_at BEGIN
INSERT INTO image_words (image_words, rowid, words)
SELECT 'delete', old.number, substr(coalesce(old.name, '')
|| ' ' || CASE WHEN json_valid(old.tags)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(old.tags)), '') ELSE '' END
|| ' ' || CASE WHEN json_valid(old.properties)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(old.properties)), '') ELSE '' END
, 1, 50000) WHERE old.deleted_at IS NULL;
INSERT INTO image_words (rowid, words) SELECT new.number, substr(coalesce(new.name, '')
|| ' ' || CASE WHEN json_valid(new.tags)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(new.tags)), '') ELSE '' END
|| ' ' || CASE WHEN json_valid(new.properties)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(new.properties)), '') ELSE '' END
, 1, 50000) WHERE new.deleted_at IS NULL;
END""",
    """CREATE TRIGGER image_words_remove AFTER DELETE ON images WHEN old.deleted_at IS NULL BEGIN
INSERT INTO image_words (image_words, rowid, words) SELECT 'delete', old.number, substr(coalesce(old.name, '')
|| ' ' || CASE WHEN json_valid(old.tags)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(old.tags)), '') ELSE '' END
|| ' ' || CASE WHEN json_valid(old.properties)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(old.properties)), '') ELSE '' END
, 1, 50000);
END""",
    """INSERT INTO image_words (rowid, words) SELECT number, substr(coalesce(images.name, '')
|| ' ' || CASE WHEN json_valid(images.tags)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(images.tags)), '') ELSE '' END
|| ' ' || CASE WHEN json_valid(images.properties)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(images.properties)), '') ELSE '' END
, 1, 50000) FROM images WHERE deleted_at IS NULL""",
)
_POSTGRESQL = (
    """CREATE FUNCTION image_words_of(name text, tags text, properties text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    text text;
BEGIN
    SELECT left(concat_ws(' ', name,
        (SELECT string_agg(value, ' ') FROM json_array_elements_text(tags::json) AS listed(value)),
        (SELECT string_agg(value, ' ') FROM json_each_text(properties::json) AS pairs(key, value))
    ), 50000) INTO text;
    text := lower(text COLLATE pg_catalog."COLLATION");
    IF text ~ '[^\\x01-\\x7f]' THEN
        text := normalize(regexp_replace(normalize(text, NFD), '([a-z])[\\u0300-\\u036f]+', '\\1', 'g'), NFC);
    END IF;
    RETURN (
        SELECT coalesce(string_agg('''' || left(word, 200) || ''':' || least(place, 16383), ' '), '')
        FROM string_to_table(regexp_replace(text COLLATE pg_catalog."COLLATION", '[^[:alnum:]]+', ' ', 'g'), ' ')
        WITH ORDINALITY AS split(word, place) WHERE word <> ''
    )::tsvector;
EXCEPTION WHEN data_exception THEN
    RETURN ''::tsvector; -- Damage, which `db check` reports, must not stop a write.
END $$""",
    "CREATE TABLE image_words (image_number BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)",
    """CREATE FUNCTION image_words_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND new.deleted_at IS NOT NULL) THEN
        DELETE FROM image_words WHERE image_number = old.number;
    ELSIF new.deleted_at IS NULL THEN
        INSERT INTO image_words VALUES (new.number, image_words_of(new.name, new.tags, new.properties))
        ON CONFLICT (image_number) DO UPDATE SET words = excluded.words;
    END IF;
    RETURN NULL;
END $$""",
    """CREATE TRIGGER image_words_add AFTER INSERT OR DELETE ON images
FOR EACH ROW EXECUTE FUNCTION image_words_keep()""",
    """CREATE TRIGGER image_words_change AFTER UPDATE OF name, tags, properties, deleted_at ON images
FOR EACH ROW WHEN ((old.name, old.tags, old.properties, old.deleted_at)
IS DISTINCT FROM (new.name, new.tags, new.properties, new.deleted_at)) EXECUTE FUNCTION image_words_keep()""",
    """INSERT INTO image_words SELECT number, image_words_of(name, tags, properties) FROM images
WHERE deleted_at IS NULL""",
    "CREATE INDEX image_words_words ON image_words USING gin (words) WITH (gin_pending_list_limit = 256)",
    """CREATE FUNCTION image_words_found(wanted tsquery, most bigint) RETURNS SETOF bigint LANGUAGE sql STABLE
SET enable_bitmapscan = on SET enable_indexscan = off SET enable_seqscan = off AS $$
    SELECT image_number FROM image_words WHERE words @@ wanted LIMIT most
$$""",
)
