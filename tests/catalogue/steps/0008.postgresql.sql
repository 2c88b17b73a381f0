ALTER TABLE images ADD COLUMN null_properties TEXT
--
UPDATE glance_registry_version SET version_num='0008' WHERE glance_registry_version.version_num = '0007'
