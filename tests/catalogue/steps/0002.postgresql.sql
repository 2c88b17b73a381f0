CREATE TABLE tombstones (
    id VARCHAR(36) COLLATE "C" NOT NULL,
    purged_at BIGINT NOT NULL,
    PRIMARY KEY (id)
)
--
CREATE INDEX images_deleted_at ON images (deleted_at) WHERE deleted_at IS NOT NULL
--
UPDATE glance_registry_version SET version_num='0002' WHERE glance_registry_version.version_num = '0001'
