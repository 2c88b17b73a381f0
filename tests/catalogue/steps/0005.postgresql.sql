ALTER TABLE images ADD COLUMN tags TEXT DEFAULT '[]' NOT NULL
--
ALTER TABLE images ADD COLUMN os_hidden BOOLEAN DEFAULT false NOT NULL
--
ALTER TABLE images ADD COLUMN os_hash_algo VARCHAR(64) COLLATE "C"
--
ALTER TABLE images ADD COLUMN os_hash_value VARCHAR(128) COLLATE "C"
--
ALTER TABLE image_members ADD COLUMN status VARCHAR(20) COLLATE "C" DEFAULT 'pending' NOT NULL
--
ALTER TABLE image_members ADD COLUMN created_at BIGINT
--
ALTER TABLE image_members ADD COLUMN updated_at BIGINT
--
CREATE INDEX images_hidden ON images (visibility, created_at) WHERE os_hidden IS true AND deleted_at IS NULL
--
UPDATE glance_registry_version SET version_num='0005' WHERE glance_registry_version.version_num = '0004'
