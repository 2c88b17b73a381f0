# SPDX-License-Identifier: Apache-2.0
"""Requests that hold only for a certain state of an image or of its members (RFC 9110, sections 8.8 and 13).

An image's ETag is made of its version and the time of its last change: the version alone would come again when a
database is restored from a backup. A membership's is made of all that is kept of it.
"""

import re
from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b

import msgspec

from glance_registry.api.errors import PreconditionFailed
from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, Header, encoded_answer
from glance_registry.model.changes import Step, all_of
from glance_registry.model.image import Image
from glance_registry.model.member import Member

_TAG = re.compile(r'(W/)?("[^"]*")')


def etag(image: Image) -> str:
    return f'"{image.version:x}-{int(image.updated_at.timestamp() * 1_000_000):x}"'


def body_etag(body: bytes) -> str:
    """Of an answer that is made of many things."""
    return f'"{blake2b(body, digest_size=12).hexdigest()}"'


def members_etag(members: Sequence[Member]) -> str:
    return body_etag(msgspec.json.encode(members))


def answer(request: Request, body: bytes, tag: str, headers: Sequence[Header] = ()) -> Answer:
    """The body as JSON; 304 without it when the caller has it already."""
    named = (b"etag", tag.encode())
    given = request.headers.get("if-none-match")
    if given is not None and (given.strip() == "*" or any(known == tag for _, known in _TAG.findall(given))):
        answer = Answer(b"", b"", 304)
        answer.raw_headers = [named, *headers]
        return answer
    return encoded_answer(body, headers=[named, *headers])


def guarded(request: Request, *steps: Step) -> Step:
    """The steps, unless the image is another than the caller has in mind. The step raises PreconditionFailed."""
    tags = _in_mind(request)
    return all_of(steps if tags is None else [only(tags), *steps])


def as_seen(request: Request) -> Callable[[Sequence[Member]], None]:
    """A check that memberships are those that the caller has in mind; it raises PreconditionFailed."""
    tags = _in_mind(request)

    def check(members: Sequence[Member]) -> None:
        if tags is not None and members_etag(members) not in tags:
            raise PreconditionFailed("The members of the image were changed since; show them again.")

    return check


def _in_mind(request: Request) -> set[str] | None:
    """The ETags of which the caller names one, or None when it takes the thing as it is."""
    wanted = ", ".join(request.headers.getlist("if-match"))
    if not wanted or wanted.strip() == "*":
        return None
    # A weak tag never matches here: the comparison is the strong one.
    return {tag for weak, tag in _TAG.findall(wanted) if not weak}


def only(tags: Collection[str]) -> Step:
    """No change, of an image that has one of these ETags. The step raises PreconditionFailed for another."""

    def step(image: Image) -> Image:
        if etag(image) not in tags:
            raise PreconditionFailed(f"Image {image.id} was changed since; show it again.")
        return image

    return step
