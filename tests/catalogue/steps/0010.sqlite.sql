ALTER TABLE uploads ADD COLUMN resumable BOOLEAN
--
ALTER TABLE uploads ADD COLUMN length BIGINT
--
ALTER TABLE uploads ADD COLUMN kept BIGINT
--
ALTER TABLE uploads ADD COLUMN writer VARCHAR(32)
--
ALTER TABLE uploads ADD COLUMN writer_until BIGINT
--
ALTER TABLE uploads ADD COLUMN next_writer VARCHAR(32)
--
UPDATE glance_registry_version SET version_num='0010' WHERE glance_registry_version.version_num = '0009'
