# SPDX-License-Identifier: Apache-2.0
"""Requests that hold only for a certain state of an image or of its members (RFC 9110, sections 8.8 and 13).

The ETag of an image, or of its members, is its revision in quotes.
"""

import re
from collections.abc import Sequence
from hashlib import blake2b

from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, Header, encoded_answer
from glance_registry.model.changes import Precondition
from glance_registry.model.image import Image
from glance_registry.model.member import Member, revision_of

_TAG = re.compile(r'(W/)?("[^"]*")')


def etag(image: Image) -> str:
    return f'"{image.revision}"'


def body_etag(body: bytes) -> str:
    """Of an answer that is made of many things."""
    return f'"{blake2b(body, digest_size=12).hexdigest()}"'


def members_etag(members: Sequence[Member]) -> str:
    return f'"{revision_of(members)}"'


def is_known(request: Request, tag: str) -> bool:
    """Whether the caller has what this ETag stands for (If-None-Match)."""
    given = request.headers.get("if-none-match")
    return given is not None and (given.strip() == "*" or any(known == tag for _, known in _TAG.findall(given)))


def answer(request: Request, body: bytes, tag: str, headers: Sequence[Header] = ()) -> Answer:
    """The body as JSON; 304 without it when the caller has it already."""
    named = (b"etag", tag.encode())
    if is_known(request, tag):
        return not_modified([named, *headers])
    return encoded_answer(body, headers=[named, *headers])


def not_modified(headers: Sequence[Header]) -> Answer:
    """304: the caller has it already."""
    answer = Answer(b"", b"", 304)
    answer.raw_headers = list(headers)
    return answer


def precondition(request: Request) -> Precondition:
    """What the caller's If-Match demands: the image or its members are the ones that it has in mind."""
    wanted = ", ".join(request.headers.getlist("if-match"))
    revisions = None if not wanted or wanted.strip() == "*" else _revisions(wanted)
    return Precondition(revisions=revisions)


def only(tag: str) -> Precondition:
    """That the image has this ETag."""
    return Precondition(revisions=_revisions(tag))


def _revisions(tags: str) -> frozenset[str]:
    # A weak tag never matches here: the comparison is the strong one.
    return frozenset(tag[1:-1] for weak, tag in _TAG.findall(tags) if not weak)
