DROP INDEX images_created_at
--
CREATE INDEX images_created_at ON images (created_at NULLS FIRST)
--
DROP INDEX images_updated_at
--
CREATE INDEX images_updated_at ON images (updated_at NULLS FIRST)
--
UPDATE glance_registry_version SET version_num='0007' WHERE glance_registry_version.version_num = '0006'
