# SPDX-License-Identifier: Apache-2.0
"""The answers that handlers return. Their headers are bytes already."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

Header = tuple[bytes, bytes]

MAX_IMAGE_PART_BYTES = 1_048_576
"""Of an image's bytes: larger messages make downloads quicker."""

_encode = msgspec.json.Encoder().encode


class Answer(Response):
    """A whole answer in memory. Header values may be any UTF-8, which Starlette's own class cannot hold."""

    following: AsyncGenerator[bytes, None] | None = None
    """The rest of a body that is too large for memory; the answer then has no Content-Length."""

    part_bytes = 262_144
    """Bytes of the body in one message to the server, which copies them into a buffer of its own."""

    cache_control = (b"cache-control", b"private, no-cache")
    """An answer is for one caller: shared caches must not store it, and the caller's own must revalidate it."""

    def __init__(self, body: bytes, content_type: bytes, status: int = 200, headers: Sequence[Header] = ()) -> None:
        self.body = body
        self.status_code = status
        self.background = None
        self.raw_headers = [
            (b"content-type", content_type),
            (b"content-length", str(len(body)).encode()),
            *headers,
        ]


def json_answer(value: Any, status: int = 200, headers: Sequence[Header] = ()) -> Answer:
    return encoded_answer(_encode(value), status, headers)


def encoded_answer(body: bytes, status: int = 200, headers: Sequence[Header] = ()) -> Answer:
    """For a body that is JSON already."""
    return Answer(body, b"application/json", status, headers)


def streamed_answer(first: bytes, following: AsyncGenerator[bytes, None]) -> Answer:
    """For JSON too large to be held at once: its first bytes, and those that follow, made as the client takes them."""
    answer = Answer(first, b"application/json")
    answer.raw_headers = [header for header in answer.raw_headers if header[0] != b"content-length"]
    answer.following = following
    return answer


def text_answer(text: str, status: int = 200, headers: Sequence[Header] = ()) -> Answer:
    return Answer(text.encode(errors="replace"), b"text/plain; charset=utf-8", status, headers)


def empty_answer() -> Answer:
    """204: done, nothing to say."""
    answer = Answer(b"", b"", 204)
    answer.raw_headers.clear()
    return answer


def bytes_answer(
    first: bytes, following: AsyncGenerator[bytes, None], status: int, headers: Sequence[Header]
) -> Answer:
    """An image's bytes, as the client takes them."""
    answer = Answer(first, b"application/octet-stream", status)
    answer.raw_headers = [answer.raw_headers[0], *headers]
    answer.following = following
    answer.part_bytes = MAX_IMAGE_PART_BYTES
    return answer
