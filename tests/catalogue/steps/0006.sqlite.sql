CREATE VIRTUAL TABLE image_words USING fts5(words, content='', columnsize=0, tokenize='unicode61 remove_diacritics 2')
--
CREATE VIRTUAL TABLE image_words_places USING fts5vocab(image_words, instance)
--
CREATE TRIGGER image_words_add AFTER INSERT ON images WHEN new.deleted_at IS NULL BEGIN
INSERT INTO image_words (rowid, words) SELECT new.number, substr(coalesce(new.name, '')
|| ' ' || CASE WHEN json_valid(new.tags)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(new.tags)), '') ELSE '' END
|| ' ' || CASE WHEN json_valid(new.properties)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(new.properties)), '') ELSE '' END
, 1, 50000);
END
--
CREATE TRIGGER image_words_change AFTER UPDATE OF name, tags, properties, deleted_at ON images
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
END
--
CREATE TRIGGER image_words_remove AFTER DELETE ON images WHEN old.deleted_at IS NULL BEGIN
INSERT INTO image_words (image_words, rowid, words) SELECT 'delete', old.number, substr(coalesce(old.name, '')
|| ' ' || CASE WHEN json_valid(old.tags)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(old.tags)), '') ELSE '' END
|| ' ' || CASE WHEN json_valid(old.properties)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(old.properties)), '') ELSE '' END
, 1, 50000);
END
--
INSERT INTO image_words (rowid, words) SELECT number, substr(coalesce(images.name, '')
|| ' ' || CASE WHEN json_valid(images.tags)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(images.tags)), '') ELSE '' END
|| ' ' || CASE WHEN json_valid(images.properties)
    THEN coalesce((SELECT group_concat(value, ' ') FROM json_each(images.properties)), '') ELSE '' END
, 1, 50000) FROM images WHERE deleted_at IS NULL
--
UPDATE glance_registry_version SET version_num='0006' WHERE glance_registry_version.version_num = '0005'
