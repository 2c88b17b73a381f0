CREATE TABLE glance_registry_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT glance_registry_version_pkc PRIMARY KEY (version_num)
)
--
CREATE TABLE images (
    number BIGSERIAL NOT NULL,
    id VARCHAR(36) COLLATE "C" NOT NULL,
    version INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    name VARCHAR(255) COLLATE "C",
    status VARCHAR(30) COLLATE "C" NOT NULL,
    visibility VARCHAR(10) COLLATE "C" NOT NULL,
    disk_format VARCHAR(20) COLLATE "C",
    container_format VARCHAR(20) COLLATE "C",
    size BIGINT,
    virtual_size BIGINT,
    checksum VARCHAR(32) COLLATE "C",
    owner VARCHAR(255) COLLATE "C",
    min_disk INTEGER NOT NULL,
    min_ram INTEGER NOT NULL,
    protected BOOLEAN NOT NULL,
    properties TEXT NOT NULL,
    locations TEXT NOT NULL,
    PRIMARY KEY (number),
    UNIQUE (id)
)
--
CREATE INDEX images_created_at ON images (created_at, id)
--
INSERT INTO glance_registry_version (version_num) VALUES ('0001') RETURNING glance_registry_version.version_num
