# SPDX-License-Identifier: Apache-2.0
"""Clients that write as fast as they can, and know what must be in the catalogue whatever happens to the server."""

import http.client
import json
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from glance_registry.catalogue.images import ImageRecord

SECONDS = 60
"""For an answer, on a machine that may be busy."""

FORMATS = {"disk_format": "raw", "container_format": "bare"}
UNANSWERED = (503, 507)
"""The write may or may not have been done."""


@dataclass(frozen=True)
class Known:
    """What a writer knows of one image; `version` counts the writes of the row, so a write done twice is seen."""

    name: str
    version: int = 1
    deleted: bool = False
    properties: dict[str, str] = field(default_factory=dict)
    members: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: ImageRecord) -> "Known":
        image = kept.image
        members = {member.member_id: member.can_share for member in kept.members}
        return cls(str(image.name), image.version, image.deleted, dict(image.properties), members)


@dataclass(frozen=True)
class Write:
    """One request, and what the image is after it."""

    image_id: str
    method: str
    path: str
    body: Any
    after: Known


class Writer:
    """Works on images of its own, one request after the other, so it knows in which order its writes were done.

    `unsure` are images of which the last write has no answer: as they were before it (None: not there) and as
    they are if it was done. Nobody touches these any more.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.known: dict[str, Known] = {}
        self.unsure: dict[str, tuple[Known | None, Known]] = {}
        self.acknowledged = 0
        self.surprise = ""
        self._random = random.Random(name)
        self._made = 0

    def write_until(self, stopped: threading.Event, port: int) -> None:
        """Write until told to stop, or until an answer comes that should never come: the `surprise`."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        while not stopped.is_set() and not self.surprise:
            try:
                if connection.sock is None:
                    connection.connect()
                answered = self._send(connection, self._next_write())
            except (OSError, http.client.HTTPException):
                connection.close()
                answered = False
            if not answered:
                stopped.wait(0.05)
        connection.close()

    def _send(self, connection: http.client.HTTPConnection, write: Write) -> bool:
        """Whether it was answered with what became of it."""
        # Until there is an answer nobody knows.
        self.unsure[write.image_id] = (self.known.pop(write.image_id, None), write.after)
        body = None if write.body is None else json.dumps(write.body)
        connection.request(write.method, write.path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status in UNANSWERED:
            return False
        if answer.status not in (200, 204):
            self.surprise = f"{write.method} {write.path}: {answer.status} {text}"
            return False
        del self.unsure[write.image_id]
        self.known[write.image_id] = write.after
        self.acknowledged += 1
        return True

    def _next_write(self) -> Write:
        live = [image_id for image_id, known in self.known.items() if not known.deleted]
        if not live or self._random.random() < 0.3:
            return self._create()
        # Mostly the youngest, so that an image has a history.
        image_id = self._random.choice(live[-5:])
        write = self._random.choices([self._update, self._share, self._share_anew, self._delete], [4, 2, 1, 1])
        return write[0](image_id, self.known[image_id])

    def _create(self) -> Write:
        self._made += 1
        image_id = f"{self.name}-{self._made}"
        properties = self._properties()
        image = {"id": image_id, "name": image_id, "properties": properties, **FORMATS}
        return Write(image_id, "POST", "/images", {"image": image}, Known(image_id, properties=properties))

    def _update(self, image_id: str, known: Known) -> Write:
        given = self._properties()
        after = replace(known, version=known.version + 1, properties={**known.properties, **given})
        return Write(image_id, "PUT", f"/images/{image_id}", {"image": {"properties": given}}, after)

    def _share(self, image_id: str, known: Known) -> Write:
        member, can_share = self._random.choice("abc"), self._random.random() < 0.5
        after = replace(known, members={**known.members, member: can_share})
        return Write(
            image_id, "PUT", f"/images/{image_id}/members/{member}", {"member": {"can_share": can_share}}, after
        )

    def _share_anew(self, image_id: str, known: Known) -> Write:
        members = {member: self._random.random() < 0.5 for member in self._random.sample("abcdef", 3)}
        wanted = [{"member_id": member, "can_share": can_share} for member, can_share in members.items()]
        after = replace(known, members=members)
        return Write(image_id, "PUT", f"/images/{image_id}/members", {"memberships": wanted}, after)

    def _delete(self, image_id: str, known: Known) -> Write:
        after = replace(known, version=known.version + 1, deleted=True, properties={})
        return Write(image_id, "DELETE", f"/images/{image_id}", None, after)

    def _properties(self) -> dict[str, str]:
        """Some of a few, one of them long, so that updates add, change and leave alone."""
        names = self._random.sample("pqrstu", self._random.randint(0, 4))
        return {name: str(self._random.random()) * (20 if name == "p" else 1) for name in names}

    def settle(self, kept: Mapping[str, Known]) -> list[str]:
        """What is wrong with what is kept, image by image; what was unsure is then known."""
        faults = [
            f"{image_id}: acknowledged {known}, kept {kept.get(image_id)}"
            for image_id, known in self.known.items()
            if kept.get(image_id) != known
        ]
        for image_id, possible in self.unsure.items():
            found = kept.get(image_id)
            if found not in possible:
                faults.append(f"{image_id}: may be one of {possible}, kept {found}")
            elif found is not None:
                self.known[image_id] = found
        self.unsure.clear()
        return faults
