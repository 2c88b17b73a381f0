CREATE FUNCTION image_words_of(name text, tags text, properties text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    text text;
BEGIN
    SELECT left(concat_ws(' ', name,
        (SELECT string_agg(value, ' ') FROM json_array_elements_text(tags::json) AS listed(value)),
        (SELECT string_agg(value, ' ') FROM json_each_text(properties::json) AS pairs(key, value))
    ), 50000) INTO text;
    text := lower(text COLLATE pg_catalog."pg_c_utf8");
    IF text ~ '[^\x01-\x7f]' THEN
        text := normalize(regexp_replace(normalize(text, NFD), '([a-z])[\u0300-\u036f]+', '\1', 'g'), NFC);
    END IF;
    RETURN (
        SELECT coalesce(string_agg('''' || left(word, 200) || ''':' || least(place, 16383), ' '), '')
        FROM string_to_table(regexp_replace(text COLLATE pg_catalog."pg_c_utf8", '[^[:alnum:]]+', ' ', 'g'), ' ')
        WITH ORDINALITY AS split(word, place) WHERE word <> ''
    )::tsvector;
EXCEPTION WHEN data_exception THEN
    RETURN ''::tsvector; -- Damage, which `db check` reports, must not stop a write.
END $$
--
CREATE TABLE image_words (image_number BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)
--
CREATE FUNCTION image_words_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND new.deleted_at IS NOT NULL) THEN
        DELETE FROM image_words WHERE image_number = old.number;
    ELSIF new.deleted_at IS NULL THEN
        INSERT INTO image_words VALUES (new.number, image_words_of(new.name, new.tags, new.properties))
        ON CONFLICT (image_number) DO UPDATE SET words = excluded.words;
    END IF;
    RETURN NULL;
END $$
--
CREATE TRIGGER image_words_add AFTER INSERT OR DELETE ON images
FOR EACH ROW EXECUTE FUNCTION image_words_keep()
--
CREATE TRIGGER image_words_change AFTER UPDATE OF name, tags, properties, deleted_at ON images
FOR EACH ROW WHEN ((old.name, old.tags, old.properties, old.deleted_at)
IS DISTINCT FROM (new.name, new.tags, new.properties, new.deleted_at)) EXECUTE FUNCTION image_words_keep()
--
INSERT INTO image_words SELECT number, image_words_of(name, tags, properties) FROM images
WHERE deleted_at IS NULL
--
CREATE INDEX image_words_words ON image_words USING gin (words) WITH (gin_pending_list_limit = 256)
--
CREATE FUNCTION image_words_found(wanted tsquery, most bigint) RETURNS SETOF bigint LANGUAGE sql STABLE
SET enable_bitmapscan = on SET enable_indexscan = off SET enable_seqscan = off AS $$
    SELECT image_number FROM image_words WHERE words @@ wanted LIMIT most
$$
--
UPDATE glance_registry_version SET version_num='0006' WHERE glance_registry_version.version_num = '0005'
