# SPDX-License-Identifier: Apache-2.0
"""The index of words, as step 0006 creates it, in each database's own language.

It has name, tags and property values of all images that are not deleted. Triggers update it, so that searches also find
what an older release writes.
"""

from sqlalchemy import Connection

from glance_registry.model.search import MAX_TEXT_LENGTH


def create(connection: Connection) -> None:
    """Create the index and its triggers, and index all images."""
    for statement in _statements(connection):
        connection.exec_driver_sql(statement).close()


def sqlite_index(name: str) -> tuple[str, str]:
    """Statements for an index of words, and for a table of the words with their positions."""
    return _INDEX.replace("NAME", name), _PLACES.replace("NAME", name)


def _statements(connection: Connection) -> list[str]:
    if connection.dialect.name == "sqlite":
        return [*sqlite_index("image_words"), _SQLITE_ADD, _SQLITE_CHANGE, _SQLITE_REMOVE, _SQLITE_FILL]
    words_of = _WORDS_OF.replace("LETTERS", f'COLLATE pg_catalog."{_collation(connection)}"')
    return [words_of, _TABLE, _KEEP, _ADD, _CHANGE, _FILL, _GIN, _FOUND]


def _collation(connection: Connection) -> str:
    """The first collation that the server has of those that know the letters of all alphabets."""
    wanted = ("pg_c_utf8", "und-x-icu", "C.utf8")
    known = set(connection.exec_driver_sql("SELECT collname FROM pg_collation").scalars())
    return next((name for name in wanted if name in known), "default")


def _text_of(row: str) -> str:
    """The indexed text of a row, on SQLite. Damaged JSON must not prevent a write; `db check` reports it."""
    return _TEXT.replace("ROW", row).replace("LONGEST", str(MAX_TEXT_LENGTH))


_TEXT = """substr(coalesce(ROW.name, '')
|| ' ' || CASE WHEN json_valid(ROW.tags)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(ROW.tags)), '') ELSE '' END
|| ' ' || CASE WHEN json_valid(ROW.properties)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(ROW.properties)), '') ELSE '' END
, 1, LONGEST)"""
TEXT = _text_of("images")

# Without copies of the texts and without their lengths, which would double its size. So a trigger that removes words
# must pass the old text.
_INDEX = (
    "CREATE VIRTUAL TABLE NAME USING fts5(words, content='', columnsize=0, tokenize='unicode61 remove_diacritics 2')"
)
_PLACES = "CREATE VIRTUAL TABLE NAME_places USING fts5vocab(NAME, instance)"
_SQLITE_ADD = """CREATE TRIGGER image_words_add AFTER INSERT ON images WHEN new.deleted_at IS NULL BEGIN
INSERT INTO image_words (rowid, words) SELECT new.number, TEXT_NEW;
END""".replace("TEXT_NEW", _text_of("new"))
_SQLITE_CHANGE = """CREATE TRIGGER image_words_change AFTER UPDATE OF name, tags, properties, deleted_at ON images
WHEN old.name IS NOT new.name OR old.tags IS NOT new.tags OR old.properties IS NOT new.properties
OR old.deleted_at IS NOT new.deleted_at BEGIN
INSERT INTO image_words (image_words, rowid, words)
SELECT 'delete', old.number, TEXT_OLD WHERE old.deleted_at IS NULL;
INSERT INTO image_words (rowid, words) SELECT new.number, TEXT_NEW WHERE new.deleted_at IS NULL;
END""".replace("TEXT_OLD", _text_of("old")).replace("TEXT_NEW", _text_of("new"))
_SQLITE_REMOVE = """CREATE TRIGGER image_words_remove AFTER DELETE ON images WHEN old.deleted_at IS NULL BEGIN
INSERT INTO image_words (image_words, rowid, words) SELECT 'delete', old.number, TEXT_OLD;
END""".replace("TEXT_OLD", _text_of("old"))

# Not `to_tsvector`, whose parser takes versions, hosts and paths for one word each. Words are cut at 200 characters,
# since no search has longer ones.
_WORDS_OF = """CREATE FUNCTION image_words_of(name text, tags text, properties text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    text text;
BEGIN
    SELECT left(concat_ws(' ', name,
        (SELECT string_agg(value, ' ') FROM json_array_elements_text(tags::json) AS listed(value)),
        (SELECT string_agg(value, ' ') FROM json_each_text(properties::json) AS pairs(key, value))
    ), LONGEST) INTO text;
    text := lower(text LETTERS);
    IF text ~ '[^\\x01-\\x7f]' THEN
        text := normalize(regexp_replace(normalize(text, NFD), '([a-z])[\\u0300-\\u036f]+', '\\1', 'g'), NFC);
    END IF;
    RETURN (
        SELECT coalesce(string_agg('''' || left(word, 200) || ''':' || least(place, 16383), ' '), '')
        FROM string_to_table(regexp_replace(text LETTERS, '[^[:alnum:]]+', ' ', 'g'), ' ')
        WITH ORDINALITY AS split(word, place) WHERE word <> ''
    )::tsvector;
EXCEPTION WHEN data_exception THEN
    RETURN ''::tsvector; -- Damage, which `db check` reports, must not stop a write.
END $$""".replace("LONGEST", str(MAX_TEXT_LENGTH))
_TABLE = "CREATE TABLE image_words (image_number BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)"
_KEEP = """CREATE FUNCTION image_words_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND new.deleted_at IS NOT NULL) THEN
        DELETE FROM image_words WHERE image_number = old.number;
    ELSIF new.deleted_at IS NULL THEN
        INSERT INTO image_words VALUES (new.number, image_words_of(new.name, new.tags, new.properties))
        ON CONFLICT (image_number) DO UPDATE SET words = excluded.words;
    END IF;
    RETURN NULL;
END $$"""
_ADD = """CREATE TRIGGER image_words_add AFTER INSERT OR DELETE ON images
FOR EACH ROW EXECUTE FUNCTION image_words_keep()"""
_CHANGE = """CREATE TRIGGER image_words_change AFTER UPDATE OF name, tags, properties, deleted_at ON images
FOR EACH ROW WHEN ((old.name, old.tags, old.properties, old.deleted_at)
IS DISTINCT FROM (new.name, new.tags, new.properties, new.deleted_at)) EXECUTE FUNCTION image_words_keep()"""
_GIN = "CREATE INDEX image_words_words ON image_words USING gin (words) WITH (gin_pending_list_limit = 256)"
# A GIN index is only read as a bitmap, which `PLANNER` in `postgresql/catalogue.py` forbids for other statements.
_FOUND = """CREATE FUNCTION image_words_found(wanted tsquery, most bigint) RETURNS SETOF bigint LANGUAGE sql STABLE
SET enable_bitmapscan = on SET enable_indexscan = off SET enable_seqscan = off AS $$
    SELECT image_number FROM image_words WHERE words @@ wanted LIMIT most
$$"""

_FILL = """INSERT INTO image_words SELECT number, image_words_of(name, tags, properties) FROM images
WHERE deleted_at IS NULL"""
_SQLITE_FILL = (
    "INSERT INTO image_words (rowid, words) SELECT number, TEXT FROM images WHERE deleted_at IS NULL".replace(
        "TEXT", TEXT
    )
)
REFILL = ("INSERT INTO image_words (image_words) VALUES ('delete-all')", _SQLITE_FILL)
"""Statements that fill the index again, on SQLite."""
