# SPDX-License-Identifier: Apache-2.0
"""Requests that hold only for a certain state of an image (RFC 9110, sections 8.8 and 13).

An image's ETag is made of its version and the time of its last change: the version alone would come again when a
database is restored from a backup.
"""

import re
from collections.abc import Collection, Sequence
from hashlib import blake2b

from glance_registry.api.answer import Answer, Header, encoded_answer
from glance_registry.api.errors import PreconditionFailed
from glance_registry.api.request import Request
from glance_registry.model.image import Image
from glance_registry.model.revision import Step, all_of

_TAG = re.compile(r'(W/)?("[^"]*")')


def etag(image: Image) -> str:
    return f'"{image.version:x}-{int(image.updated_at.timestamp() * 1_000_000):x}"'


def body_etag(body: bytes) -> str:
    """Of an answer that is made of many things."""
    return f'"{blake2b(body, digest_size=12).hexdigest()}"'


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
    given = request.headers.getlist("if-match")
    if not given:
        return all_of(steps)
    wanted = ", ".join(given)

    if wanted.strip() == "*":
        return all_of(steps)
    # A weak tag never matches here: the comparison is the strong one.
    return all_of([only({tag for weak, tag in _TAG.findall(wanted) if not weak}), *steps])


def only(tags: Collection[str]) -> Step:
    """No change, of an image that has one of these ETags. The step raises PreconditionFailed for another."""

    def step(image: Image) -> Image:
        if etag(image) not in tags:
            raise PreconditionFailed(f"Image {image.id} was changed since; show it again.")
        return image

    return step
