# SPDX-License-Identifier: Apache-2.0
"""What one request does to one image when nobody else is there: the registry protocol, section 3, as a pure model.

An operation's `apply` takes the image before it (None: never registered) and gives the image after it and the
result: the answer's status and what the body tells.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

Pairs = frozenset[tuple[str, Any]]
NONE: Pairs = frozenset()
Result = tuple[int, Any]
REFUSED_AS_ABSENT: Result = (404, None)
REFUSED_AS_CONFLICT: Result = (409, None)


def pairs(mapping: Mapping[str, Any]) -> Pairs:
    return frozenset(mapping.items())


@dataclass(frozen=True)
class Image:
    status: str
    properties: Pairs = NONE
    members: Pairs = NONE
    deleted: bool = False

    def shown(self) -> Result:
        return 200, (self.status, self.properties)


@dataclass(frozen=True)
class Operation:
    """One request about one image."""

    def request(self, image_id: str) -> tuple[str, str, Any]:
        """Method, path and body."""
        raise NotImplementedError

    def apply(self, image: Image | None) -> tuple[Image | None, Result]:
        raise NotImplementedError


@dataclass(frozen=True)
class Create(Operation):
    properties: Pairs = NONE

    def request(self, image_id: str) -> tuple[str, str, Any]:
        image = {"id": image_id, "status": "queued", "disk_format": "raw", "container_format": "bare"}
        return "POST", "/images", {"image": {**image, "properties": dict(self.properties)}}

    def apply(self, image: Image | None) -> tuple[Image | None, Result]:
        if image is not None:
            return image, REFUSED_AS_CONFLICT
        made = Image("queued", self.properties)
        return made, made.shown()


@dataclass(frozen=True)
class Update(Operation):
    properties: Pairs = NONE
    status: str | None = None
    from_state: str | None = None
    purge: bool = False

    def request(self, image_id: str) -> tuple[str, str, Any]:
        image = {"properties": dict(self.properties), **({"status": self.status} if self.status else {})}
        return "PUT", f"/images/{image_id}", {"image": image, "from_state": self.from_state}

    def apply(self, image: Image | None) -> tuple[Image | None, Result]:
        if image is None or image.deleted:
            return image, REFUSED_AS_ABSENT
        if self.from_state not in (None, image.status):
            return image, REFUSED_AS_CONFLICT
        kept = {} if self.purge else dict(image.properties)
        after = replace(image, status=self.status or image.status, properties=pairs({**kept, **dict(self.properties)}))
        return after, after.shown()


@dataclass(frozen=True)
class Delete(Operation):
    def request(self, image_id: str) -> tuple[str, str, Any]:
        return "DELETE", f"/images/{image_id}", None

    def apply(self, image: Image | None) -> tuple[Image | None, Result]:
        if image is None or image.deleted:
            return image, REFUSED_AS_ABSENT
        after = replace(image, properties=NONE, deleted=True)
        return after, after.shown()


@dataclass(frozen=True)
class Show(Operation):
    def request(self, image_id: str) -> tuple[str, str, Any]:
        return "GET", f"/images/{image_id}", None

    def apply(self, image: Image | None) -> tuple[Image | None, Result]:
        return image, REFUSED_AS_ABSENT if image is None or image.deleted else image.shown()


@dataclass(frozen=True)
class Share(Operation):
    member: str
    can_share: bool = False

    def request(self, image_id: str) -> tuple[str, str, Any]:
        return "PUT", f"/images/{image_id}/members/{self.member}", {"member": {"can_share": self.can_share}}

    def apply(self, image: Image | None) -> tuple[Image | None, Result]:
        if image is None or image.deleted:
            return image, REFUSED_AS_ABSENT
        return replace(image, members=pairs({**dict(image.members), self.member: self.can_share})), (204, None)


@dataclass(frozen=True)
class Unshare(Operation):
    member: str

    def request(self, image_id: str) -> tuple[str, str, Any]:
        return "DELETE", f"/images/{image_id}/members/{self.member}", None

    def apply(self, image: Image | None) -> tuple[Image | None, Result]:
        if image is None or image.deleted or self.member not in dict(image.members):
            return image, REFUSED_AS_ABSENT
        rest = {member: share for member, share in image.members if member != self.member}
        return replace(image, members=pairs(rest)), (204, None)


@dataclass(frozen=True)
class ShareAnew(Operation):
    members: Pairs = NONE

    def request(self, image_id: str) -> tuple[str, str, Any]:
        wanted = [{"member_id": member, "can_share": share} for member, share in sorted(self.members)]
        return "PUT", f"/images/{image_id}/members", {"memberships": wanted}

    def apply(self, image: Image | None) -> tuple[Image | None, Result]:
        if image is None or image.deleted:
            return image, REFUSED_AS_ABSENT
        return replace(image, members=self.members), (204, None)


@dataclass(frozen=True)
class ListMembers(Operation):
    """A deleted image, which an admin may ask for, has no members."""

    def request(self, image_id: str) -> tuple[str, str, Any]:
        return "GET", f"/images/{image_id}/members", None

    def apply(self, image: Image | None) -> tuple[Image | None, Result]:
        return image, REFUSED_AS_ABSENT if image is None else (200, NONE if image.deleted else image.members)
