# SPDX-License-Identifier: Apache-2.0
"""The Images API's rows of the route table."""

from glance_registry.api.routing import Access, Described, route
from glance_registry.api.v2 import discovery, images, locations, members, wire
from glance_registry.api.v2.patch import MEDIA_TYPES, PATCH_SCHEMA
from glance_registry.api.v2.schemas import LOCATION_SCHEMA, Schemas

OPEN, READ, WRITE = Access.OPEN, Access.READ, Access.WRITE
_SCHEMAS = Schemas()
JSON = "application/json"
IMAGE_BODY = Described(JSON, {"type": "object", **_SCHEMAS.image})
SCHEMA = Described(JSON, {"type": "object", "required": ["name", "properties"]})
LOCATION = Described(JSON, LOCATION_SCHEMA)
LOCATIONS = Described(JSON, {"type": "array", "items": LOCATION_SCHEMA})
PATCH = Described(list(MEDIA_TYPES)[-1], PATCH_SCHEMA)
IMAGES, IMAGE = "/v2/images", "/v2/images/{image_id}"
MEMBERS, MEMBER = IMAGE + "/members", IMAGE + "/members/{member_id}"
TAG, ACTIONS, SCHEMAS = IMAGE + "/tags/{tag}", IMAGE + "/actions", "/v2/schemas"
LIST = (
    "q",
    *("limit", "marker", "sort", "sort_key", "sort_dir", "name", "status", "container_format", "disk_format", "id"),
    *("min_ram", "min_disk", "size_min", "size_max", "protected", "os_hidden", "owner", "visibility"),
    *("member_status", "tag", "created_at", "updated_at"),
)

ROUTES = (
    route("GET", "/", discovery.list_versions_as_choices, OPEN, discovery.Versions, status=300),
    route("GET", "/versions", discovery.list_versions, OPEN, discovery.Versions),
    route("GET", "/v2", discovery.show_version, OPEN, discovery.OneVersion),
    route("GET", "/v2/", discovery.show_version, OPEN, discovery.OneVersion),
    route("GET", IMAGES, images.list_images, READ, wire.ListedImages, query=LIST),
    route("POST", IMAGES, images.create_image, WRITE, IMAGE_BODY, takes=IMAGE_BODY, status=201),
    route("GET", IMAGE, images.show_image, READ, IMAGE_BODY),
    route("PATCH", IMAGE, images.update_image, WRITE, IMAGE_BODY, takes=PATCH),
    route("DELETE", IMAGE, images.delete_image, WRITE, None),
    route("GET", IMAGE + "/file", images.show_file, READ, None),
    route("PUT", IMAGE + "/file", images.replace_file, WRITE, None),
    route("POST", ACTIONS + "/deactivate", images.create_deactivation, WRITE, None),
    route("POST", ACTIONS + "/reactivate", images.delete_deactivation, WRITE, None),
    route("PUT", TAG, images.update_tag, WRITE, None),
    route("DELETE", TAG, images.delete_tag, WRITE, None),
    route("GET", IMAGE + "/locations", locations.list_locations, READ, LOCATIONS),
    route("POST", IMAGE + "/locations", locations.create_location, WRITE, IMAGE_BODY, takes=LOCATION, status=202),
    route("GET", MEMBERS, members.list_members, READ, wire.ListedMembers),
    route("POST", MEMBERS, members.create_member, WRITE, wire.ListedMember, takes=wire.Invitation),
    route("GET", MEMBER, members.show_member, READ, wire.ListedMember),
    route("PUT", MEMBER, members.update_member, WRITE, wire.ListedMember, takes=wire.Decision),
    route("DELETE", MEMBER, members.delete_member, WRITE, None),
    route("GET", "/v2/info/import", discovery.show_import_methods, READ, JSON),
    route("GET", SCHEMAS + "/image", discovery.show_schema_of_image, READ, SCHEMA),
    route("GET", SCHEMAS + "/images", discovery.show_schema_of_images, READ, SCHEMA),
    route("GET", SCHEMAS + "/member", discovery.show_schema_of_member, READ, SCHEMA),
    route("GET", SCHEMAS + "/members", discovery.show_schema_of_members, READ, SCHEMA),
)
