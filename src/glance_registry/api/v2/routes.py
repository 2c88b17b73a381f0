# SPDX-License-Identifier: Apache-2.0
"""The Images API as a dialect."""

import re
from collections.abc import Mapping
from typing import Any

from glance_registry.api.dialect import (
    Access,
    Described,
    Dialect,
    Handler,
    Parameter,
    PathPart,
    Route,
    nothing_here,
    route,
)
from glance_registry.api.errors import json_error
from glance_registry.api.parameters import COMMON
from glance_registry.api.v2 import discovery, file, images, locations, members, stores, uploads, wire
from glance_registry.api.v2.offer import prepare_offer
from glance_registry.api.v2.patch import MEDIA_TYPES, PATCH_SCHEMA
from glance_registry.api.v2.schemas import LOCATION_SCHEMA, Schemas
from glance_registry.model.errors import Forbidden, NotFound, RegistryError

OPEN, READ, WRITE = Access.OPEN, Access.READ, Access.WRITE
_SCHEMAS = Schemas()
JSON = "application/json"
IMAGE_BODY = Described(JSON, {"type": "object", **_SCHEMAS.image})
SCHEMA = Described(JSON, {"type": "object", "required": ["name", "properties"]})
BYTES = Described(file.BYTES, {"type": "string", "format": "binary"})
PIECE = Described(uploads.PARTIAL, {"type": "string", "format": "binary"})
LOCATION = Described(JSON, LOCATION_SCHEMA)
LOCATIONS = Described(JSON, {"type": "array", "items": LOCATION_SCHEMA})
PATCH = Described(list(MEDIA_TYPES)[-1], PATCH_SCHEMA)
IMAGES, IMAGE = "/v2/images", "/v2/images/{image_id}"
UPLOADS, UPLOAD = IMAGE + "/uploads", IMAGE + "/uploads/{upload_id}"
MEMBERS, MEMBER = IMAGE + "/members", IMAGE + "/members/{member_id}"
TAG, ACTIONS, SCHEMAS = IMAGE + "/tags/{tag}", IMAGE + "/actions", "/v2/schemas"
LIST = (
    "q",
    *("limit", "marker", "sort", "sort_key", "sort_dir", "name", "status", "container_format", "disk_format", "id"),
    *("min_ram", "min_disk", "size_min", "size_max", "protected", "os_hidden", "owner", "visibility"),
    *("member_status", "tag", "created_at", "updated_at"),
)


def _route(method: str, path: str, handler: Handler, access: Access, answers: Any, **more: Any) -> Route:
    """A route whose handler has the name of one of the Registry API's, or of another route's."""
    name = handler.__name__ + more.pop("suffix", "_v2")
    return route(method, path, handler, access, answers, operation_id=name, **more)


ROUTES = (
    route("GET", "/", discovery.list_versions_as_choices, OPEN, discovery.Versions, status=300),
    route("GET", "/versions", discovery.list_versions, OPEN, discovery.Versions),
    _route("GET", "/v2", discovery.show_version, OPEN, discovery.OneVersion),
    _route("GET", "/v2/", discovery.show_version, OPEN, discovery.OneVersion, suffix="_v2_with_slash"),
    _route("GET", IMAGES, images.list_images, READ, wire.ListedImages, query=LIST),
    _route("POST", IMAGES, images.create_image, WRITE, IMAGE_BODY, takes=IMAGE_BODY, status=201),
    _route("GET", IMAGE, images.show_image, READ, IMAGE_BODY),
    _route("PATCH", IMAGE, images.update_image, WRITE, IMAGE_BODY, takes=PATCH),
    _route("DELETE", IMAGE, images.delete_image, WRITE, None),
    _route("GET", IMAGE + "/file", file.show_file, READ, BYTES, query=("prefer",)),
    _route("PUT", IMAGE + "/file", file.replace_file, WRITE, None, takes=BYTES, takes_bytes=True),
    route("GET", UPLOADS, uploads.list_uploads, WRITE, uploads.ListedUploads),
    route("POST", UPLOADS, uploads.create_upload, WRITE, None, status=201),
    route("GET", UPLOAD, uploads.show_upload, WRITE, None),
    route("PATCH", UPLOAD, uploads.update_upload, WRITE, None, takes=PIECE, takes_bytes=True),
    route("DELETE", UPLOAD, uploads.delete_upload, WRITE, None),
    _route("POST", ACTIONS + "/deactivate", images.create_deactivation, WRITE, None),
    _route("POST", ACTIONS + "/reactivate", images.delete_deactivation, WRITE, None),
    _route("PUT", TAG, images.update_tag, WRITE, None),
    _route("DELETE", TAG, images.delete_tag, WRITE, None),
    _route("GET", IMAGE + "/locations", locations.list_locations, READ, LOCATIONS),
    _route("POST", IMAGE + "/locations", locations.create_location, WRITE, IMAGE_BODY, takes=LOCATION, status=202),
    _route("GET", MEMBERS, members.list_members, READ, wire.ListedMembers),
    _route("POST", MEMBERS, members.create_member, WRITE, wire.ListedMember, takes=wire.Invitation),
    _route("GET", MEMBER, members.show_member, READ, wire.ListedMember),
    _route("PUT", MEMBER, members.update_member, WRITE, wire.ListedMember, takes=wire.Decision),
    _route("DELETE", MEMBER, members.delete_member, WRITE, None),
    route("DELETE", "/v2/stores/{store}/{image_id}", stores.delete_copy, WRITE, None),
    route("GET", "/v2/info/stores", discovery.list_stores, READ, JSON),
    route("GET", "/v2/info/usage", discovery.show_usage, READ, JSON),
    route("GET", "/v2/info/import", discovery.show_import_methods, READ, JSON),
    route("GET", SCHEMAS + "/image", discovery.show_schema_of_image, READ, SCHEMA),
    route("GET", SCHEMAS + "/images", discovery.show_schema_of_images, READ, SCHEMA),
    route("GET", SCHEMAS + "/member", discovery.show_schema_of_member, READ, SCHEMA),
    route("GET", SCHEMAS + "/members", discovery.show_schema_of_members, READ, SCHEMA),
)

NOT_FOUND = "Image not found"
PATH_PARTS = {
    "image_id": PathPart(re.compile(r"[A-Za-z0-9._~-]{1,36}"), NOT_FOUND),
    "upload_id": PathPart(re.compile(r"[0-9a-f]{32}"), "There is no such upload."),
    "tag": PathPart(re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]+"), NOT_FOUND),
    "store": PathPart(re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,255}"), NOT_FOUND),
    "member_id": PathPart(re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,255}"), NOT_FOUND),
}
PARAMETERS: Mapping[str, Parameter] = {
    **COMMON,
    "sort": Parameter("Keys and directions: name:asc,size:desc.", {"type": "string"}),
    "id": Parameter("The image with this id, or in:… some of these.", {"type": "string"}),
    "os_hidden": Parameter("Hidden images alone; left out: the others alone.", {"type": "boolean"}),
    "owner": Parameter("Images of this project.", {"type": "string"}),
    "visibility": Parameter(
        "Images of this visibility, or all that the caller may list.",
        {"enum": ["public", "community", "shared", "private", "all"]},
    ),
    "member_status": Parameter(
        "Of the images shared with the caller's project, those that it has answered so.",
        {"enum": ["pending", "accepted", "rejected", "all"]},
    ),
    "q": Parameter(
        "Images with all these words, or words that begin so, in name, tags or property values.", {"type": "string"}
    ),
    "prefer": Parameter("Stores to read from first, with commas between them.", {"type": "string"}),
    "tag": Parameter("Images with this tag; repeatable.", {"type": "string"}),
    "created_at": Parameter("Images registered then, or gt:, gte:, lt:, lte:, neq: that time.", {"type": "string"}),
    "updated_at": Parameter("Images changed then, or gt:, gte:, lt:, lte:, neq: that time.", {"type": "string"}),
}

# "/v2.0/…/v2.N/ are /v2/": the minor versions share their paths.
_MINOR = re.compile(r"/v2\.\d{1,2}(?=/|$)", re.ASCII)


def _normalize(path: str) -> str:
    return _MINOR.sub("/v2", path, count=1) if path.startswith("/v2.") else path


ABSENT = {
    "metadefs": "Metadata definitions are not served here.",
    "tasks": "Tasks are not served here.",
    "cache": "There is no cache of images here.",
    "info": "This is not supported here.",
}
"""Parts of the Images API that clients ask for to see whether they are there."""


def _not_found(path: str) -> RegistryError:
    first = path.removeprefix("/v2/").partition("/")[0]
    # Compat: where there is no Keystone, openstackclient looks projects up here. Refused, it takes what was typed
    # for an id; told that there is none, it stops without a word.
    if first == "tenants":
        return Forbidden("Projects cannot be looked up here: say the id of one.")
    sentence = ABSENT.get(first)
    return NotFound(sentence) if sentence else nothing_here(path)


DIALECT = Dialect(
    name="v2",
    prefix="/v2",
    routes=ROUTES,
    path_parts=PATH_PARTS,
    parameters=PARAMETERS,
    render_error=json_error,  # Compat: clients of the Images API read errors in JSON, and do not say so.
    normalize=_normalize,
    not_found=_not_found,
    prepare=prepare_offer,
)
