CREATE TABLE image_properties (
    name VARCHAR(255) NOT NULL,
    value VARCHAR(256) NOT NULL,
    created_at BIGINT NOT NULL,
    image_number INTEGER NOT NULL,
    PRIMARY KEY (name, value, created_at, image_number)
)
 WITHOUT ROWID
--
CREATE TABLE image_members (
    member_id VARCHAR(255) NOT NULL,
    image_number INTEGER NOT NULL,
    can_share BOOLEAN NOT NULL,
    PRIMARY KEY (member_id, image_number)
)
 WITHOUT ROWID
--
CREATE INDEX image_members_image ON image_members (image_number)
--
UPDATE glance_registry_version SET version_num='0003' WHERE glance_registry_version.version_num = '0002'
