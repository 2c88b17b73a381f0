UPDATE glance_registry_version SET version_num='0007' WHERE glance_registry_version.version_num = '0006'
