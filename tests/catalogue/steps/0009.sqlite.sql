ALTER TABLE images ADD COLUMN blob_number INTEGER
--
ALTER TABLE images ADD COLUMN stores TEXT
--
CREATE TABLE blobs (
    number INTEGER NOT NULL,
    digest VARCHAR(140) NOT NULL,
    size BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (number),
    UNIQUE (digest)
)
--
CREATE TABLE blob_copies (
    blob_number INTEGER NOT NULL,
    store VARCHAR(64) NOT NULL,
    "key" VARCHAR(32) NOT NULL,
    PRIMARY KEY (blob_number, store)
)
 WITHOUT ROWID
--
CREATE TABLE uploads (
    id VARCHAR(32) NOT NULL,
    image_number INTEGER NOT NULL,
    owner VARCHAR(255),
    store VARCHAR(64) NOT NULL,
    reserved BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (image_number)
)
--
CREATE TABLE removals (
    "key" VARCHAR(32) NOT NULL,
    store VARCHAR(64) NOT NULL,
    due_at BIGINT NOT NULL,
    PRIMARY KEY ("key")
)
--
CREATE INDEX images_blob ON images (blob_number) WHERE blob_number IS NOT NULL
--
CREATE INDEX images_blob_deleted ON images (blob_number) WHERE blob_number IS NOT NULL AND deleted_at IS NOT NULL
--
CREATE INDEX images_bytes ON images (owner, size) WHERE blob_number IS NOT NULL AND deleted_at IS NULL
--
CREATE UNIQUE INDEX blob_copies_key ON blob_copies ("key")
--
CREATE INDEX uploads_expires_at ON uploads (expires_at)
--
CREATE INDEX uploads_owner ON uploads (owner)
--
CREATE INDEX removals_due_at ON removals (due_at)
--
CREATE TRIGGER images_frozen_bytes BEFORE UPDATE OF size, checksum, os_hash_algo, os_hash_value ON images
WHEN old.blob_number IS NOT NULL AND old.blob_number IS new.blob_number AND (old.size IS NOT new.size OR old.checksum IS NOT new.checksum OR old.os_hash_algo IS NOT new.os_hash_algo OR old.os_hash_value IS NOT new.os_hash_value)
BEGIN SELECT RAISE(ABORT, 'the size and digests of an image do not change while it has its bytes'); END
--
UPDATE glance_registry_version SET version_num='0009' WHERE glance_registry_version.version_num = '0008'
