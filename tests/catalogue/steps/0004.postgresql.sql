CREATE INDEX images_by_created_at ON images (visibility, created_at) WHERE deleted_at IS NULL
--
CREATE INDEX images_by_id ON images (visibility, id) WHERE deleted_at IS NULL
--
CREATE INDEX images_by_updated_at ON images (visibility, updated_at, created_at) WHERE deleted_at IS NULL
--
CREATE INDEX images_by_status ON images (visibility, status, created_at) WHERE deleted_at IS NULL
--
CREATE INDEX images_by_name ON images (visibility, coalesce(name, ''), created_at) WHERE deleted_at IS NULL
--
CREATE INDEX images_by_container_format ON images (visibility, coalesce(container_format, ''), created_at) WHERE deleted_at IS NULL
--
CREATE INDEX images_by_disk_format ON images (visibility, coalesce(disk_format, ''), created_at) WHERE deleted_at IS NULL
--
CREATE INDEX images_by_size ON images (visibility, coalesce(size, -1), created_at) WHERE deleted_at IS NULL
--
CREATE INDEX images_owner ON images (owner, created_at) WHERE deleted_at IS NULL
--
CREATE INDEX images_deleted ON images (created_at) WHERE deleted_at IS NOT NULL
--
CREATE INDEX images_updated_at ON images (updated_at)
--
DROP INDEX images_created_at
--
CREATE INDEX images_created_at ON images (created_at)
--
UPDATE glance_registry_version SET version_num='0004' WHERE glance_registry_version.version_num = '0003'
