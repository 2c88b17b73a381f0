# SPDX-License-Identifier: Apache-2.0
"""The Registry API as a dialect."""

import re
from collections.abc import Mapping

from glance_registry.api.dialect import Access, Dialect, Parameter, PathPart, route
from glance_registry.api.parameters import COMMON
from glance_registry.api.registry import images, member_wire, members, wire

READ, WRITE = Access.READ, Access.WRITE
IMAGE, MEMBERS = "/images/{image_id}", "/images/{image_id}/members"
MEMBER = MEMBERS + "/{member_id}"
LIST = (
    *("limit", "marker", "sort_key", "sort_dir"),
    *("name", "status", "container_format", "disk_format", "min_ram", "min_disk", "size_min", "size_max"),
    *("protected", "changes-since", "is_public", "deleted"),
)

ROUTES = (
    route("GET", "/images", images.list_images, READ, wire.BriefImages, query=LIST),
    route("GET", "/images/detail", images.list_images_detail, READ, wire.ShownImages, query=LIST),
    route("POST", "/images", images.create_image, WRITE, wire.OneImage, takes=wire.ImageRequest),
    route("GET", IMAGE, images.show_image, READ, wire.OneImage),
    route("PUT", IMAGE, images.update_image, WRITE, wire.OneImage, takes=wire.ImageRequest),
    route("DELETE", IMAGE, images.delete_image, WRITE, wire.OneImage),
    route("GET", MEMBERS, members.list_members, READ, member_wire.Members),
    route("PUT", MEMBERS, members.replace_members, WRITE, None, takes=member_wire.MembershipsRequest),
    route("PUT", MEMBER, members.update_member, WRITE, None, takes=member_wire.MemberRequest, body_optional=True),
    route("DELETE", MEMBER, members.delete_member, WRITE, None),
    route("GET", "/shared-images/{member_id}", members.list_shared_images, READ, member_wire.SharedImages),
)

NOT_FOUND = "Image not found"
PATH_PARTS = {
    "image_id": PathPart(re.compile(r"[A-Za-z0-9._~-]{1,36}"), NOT_FOUND),
    "member_id": PathPart(re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,255}"), NOT_FOUND),
}
PARAMETERS: Mapping[str, Parameter] = {
    **COMMON,
    "changes-since": Parameter(
        "Images changed after this time, deleted ones included.",
        {"type": "string", "format": "date-time"},
    ),
    "is_public": Parameter("For admins: true, false, or None for all images.", {"enum": ["True", "False", "None"]}),
    "deleted": Parameter("For admins: deleted images alone, or none of them.", {"type": "boolean"}),
}

DIALECT = Dialect(name="registry", routes=ROUTES, path_parts=PATH_PARTS, parameters=PARAMETERS)
