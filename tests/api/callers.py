# SPDX-License-Identifier: Apache-2.0
"""Every kind of caller and of image, for the tables of what a caller gets."""

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import httpx
from tests.conftest import Client, identity
from tests.options import change_settings, make_settings

from glance_registry.api.v2.file import BYTES
from glance_registry.api.v2.patch import MEDIA_TYPES
from glance_registry.api.v2.uploads import PARTIAL
from glance_registry.catalogue import images
from glance_registry.model.access import ANYONE_IS_ADMIN
from glance_registry.model.image import COMMUNITY, PUBLIC, SHARED, Image, Location
from glance_registry.model.member import Member

PATCH = list(MEDIA_TYPES)[-1]
LAST_PIECE = {"Content-Type": PARTIAL, "Upload-Offset": "0", "Upload-Complete": "?1"}
NOW = datetime(2026, 11, 23, tzinfo=UTC)
IMAGE = Image(id="", name="i", owner="owner", created_at=NOW, updated_at=NOW, locations=(Location("a://b", id=1),))
OF_BYTES = ("size", "checksum", "os_hash_algo", "os_hash_value", "blob_number", "stores")
OTHER = Member(member_id="other")
MEMBERS = (Member(member_id="member"), OTHER, Member(member_id="sharer", can_share=True))

# Every image belongs to the project "owner" and has the member "other".
KINDS: dict[str, dict[str, Any]] = {
    "public": {"visibility": PUBLIC, "members": MEMBERS},
    "private": {"visibility": SHARED, "members": (OTHER,)},
    "shared": {"visibility": SHARED, "members": MEMBERS},
    "community": {"visibility": COMMUNITY, "members": (OTHER,)},
    "deleted": {"visibility": PUBLIC, "members": MEMBERS, "deleted_at": NOW},
}

# The columns of the table below, and how each caller comes.
CALLERS: dict[str, dict[str, str]] = {
    "none": {},  # Identity mode none: whoever reaches the port.
    "admin": identity("admins", "admin"),
    "writer": identity("services", "service"),
    "owner": identity("owner", "member"),
    "sharer": identity("sharer", "member"),  # A member with can_share.
    "member": identity("member", "member"),
    "alien": identity("alien", "member"),  # A project that has nothing to do with the image.
    "user": identity(None, "member"),  # Without a project.
    "nobody": {},
    "doubted": {**identity("owner", "admin"), "X-Identity-Status": "Invalid"},
    "forger": identity("owner", "admin"),  # From an address that is not trusted.
}

Rows = dict[tuple[str, str, str], dict[str, str]]
"""What each caller gets, by method, path and kind of image."""


def read_table(table: str) -> Rows:
    """Paths are those of the route table: <I>, <M>, <T> and <U> stand for ids of images and members, tags, uploads."""
    heading, *lines = (line.split() for line in table.splitlines() if line)
    assert heading == list(CALLERS)
    return {
        (method, _with_names(path), kind): dict(zip(heading, wanted, strict=True))
        for method, path, kind, *wanted in lines
    }


def _with_names(path: str) -> str:
    for short, name in (("<I>", "image_id"), ("<M>", "member_id"), ("<T>", "tag"), ("<U>", "upload_id")):
        path = path.replace(short, f"{{{name}}}")
    return path


class Registry:
    """One database, and three ways to it: without identities, with them, and from an address that is not trusted."""

    def __init__(self, database: str) -> None:
        self._stores = TemporaryDirectory(prefix="glance-registry-test-")
        opened = make_settings(
            database,
            registry__contract="queens",
            registry__clients="api_servers",
            api_limit_max=10_000,
            limits__uploads_per_owner=0,
            stores__directory=self._stores.name,
        )
        trusting = change_settings(opened, identity__mode="context")
        self._insertions = count()
        self._open = Client(opened)
        self._trusted = Client(trusting)
        self._untrusted = Client(trusting, address="203.0.113.9")
        self._stored: dict[str, Any] = {}

    def send(self, who: str, method: str, path: str, body: Any = None) -> httpx.Response:
        client = {"none": self._open, "forger": self._untrusted}.get(who, self._trusted)
        query = "?limit=10000" if path in ("/images", "/images/detail", "/v2/images") else ""
        headers = CALLERS[who] | ({"Content-Type": PATCH} if method == "PATCH" else {})
        if isinstance(body, bytes) and method == "PATCH":
            return client.request(method, path, headers={**headers, **LAST_PIECE}, content=body)
        if isinstance(body, bytes):
            return client.request(method, path, headers={**headers, "Content-Type": BYTES}, content=body)
        return client.request(method, path + query, headers=headers, json=body)

    def stored_bytes(self) -> dict[str, Any]:
        """The fields of an image whose bytes are kept here. All such images have the same bytes."""
        if not self._stored:
            image_id = self._open.register()["id"]
            answer = self.send("none", "PUT", f"/v2/images/{image_id}/file", b"bytes")
            assert answer.status_code == 204, answer.text
            image = self._open.operate(images.get, image_id, ANYONE_IS_ADMIN)
            self._stored = {name: getattr(image, name) for name in OF_BYTES}
        return self._stored

    def begin_upload(self, image_id: str) -> str:
        """The id of a new upload that goes on after breaks."""
        answer = self.send("none", "POST", f"/v2/images/{image_id}/uploads")
        assert answer.status_code == 201, answer.text
        return answer.headers["location"].rpartition("/")[2]

    def insert(self, kind: Mapping[str, Any], **more: Any) -> dict[str, str]:
        """An image of this kind for each caller; their ids."""
        first = f"{next(self._insertions):08x}"  # Ids of one call follow each other.
        ids = {who: first + str(uuid4())[len(first) :] for who in CALLERS}
        fields = {**{name: value for name, value in kind.items() if name != "members"}, **more}
        wanted = [
            images.ImageRecord(Image(**{**_fields(IMAGE), **fields, "id": image_id}), kind["members"])
            for image_id in ids.values()
        ]
        assert self._open.operate(images.add_all, wanted) == len(ids)
        return ids

    def kept(self, ids: Mapping[str, str]) -> dict[str, images.ImageRecord]:
        """What the catalogue keeps of the images of one insertion, by image id."""
        before = min(ids.values())[:8]
        found = self._open.operate(images.after, IMAGE.created_at, before, len(ids))
        assert {kept.image.id for kept in found} == {*ids.values()}
        return {kept.image.id: kept for kept in found}

    def close(self) -> None:
        for client in (self._open, self._trusted, self._untrusted):
            client.close()
        self._stores.cleanup()


def _fields(image: Image) -> dict[str, Any]:
    return {name: getattr(image, name) for name in image.__struct_fields__}
