# SPDX-License-Identifier: Apache-2.0
"""What `image upload` and `image download` share: trying again, requests whose answers are errors, digests."""

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

import click
import httpx
import msgspec

from glance_registry.cli.client import Refused, sentence_of
from glance_registry.model.visible import printable

CHUNK_BYTES = 1_048_576

MAX_ATTEMPTS = 8
"""That bring no byte further; then the command ends."""

FIRST_DELAY_SECONDS = 1.0
MAX_DELAY_SECONDS = 30.0
"""The delay doubles from one attempt to the next."""

_MAX_RETRY_AFTER_SECONDS = 60

_TEMPORARY = frozenset({408, 409, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed later. 409 only if the server says when."""

Image = Mapping[str, Any]


class Broken(Exception):
    """The request may succeed when it is sent again; `str(error)` says what happened."""

    def __init__(self, sentence: str, seconds: float = 0.0, status: int = 0) -> None:
        super().__init__(sentence)
        self.seconds = seconds
        """So long the server wants the client to wait."""
        self.status = status


class Attempts:
    """Counts those that brought nothing, and waits longer after each."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._number = 0

    def progressed(self) -> None:
        self._number = 0

    async def wait(self, error: Broken) -> None:
        """Wait before the next attempt. Raises ClickException when there were too many."""
        self._number += 1
        if self._number >= MAX_ATTEMPTS:
            raise click.ClickException(f"{error} Given up after {MAX_ATTEMPTS} attempts that brought nothing.")
        delay = min(FIRST_DELAY_SECONDS * 2 ** (self._number - 1), MAX_DELAY_SECONDS)
        delay = max(delay, min(error.seconds, _MAX_RETRY_AFTER_SECONDS))
        self._tell(f"{error} Trying again in {delay:g} s.")
        await asyncio.sleep(delay)


async def send(http: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
    """The answer, whatever its status is. Raises Broken when there is none."""
    try:
        return await http.request(method, path, **options)
    except httpx.TransportError as error:
        raise broken(error) from error


def patient(http: httpx.AsyncClient, seconds: float) -> httpx.Timeout:
    """The client's own timeouts, but so long for an answer."""
    own = http.timeout
    return httpx.Timeout(connect=own.connect, write=own.write, pool=own.pool, read=max(own.read or 0.0, seconds))


def broken(error: httpx.TransportError) -> Broken:
    if isinstance(error, httpx.TimeoutException):
        return Broken("The server did not answer in time.")
    reason = printable(str(error)).rstrip(".") or type(error).__name__
    return Broken(f"The connection broke: {reason}.")


def check(answer: httpx.Response) -> None:
    """Raise Broken for an error after which the same request may succeed later, Refused for others."""
    if answer.status_code < HTTPStatus.BAD_REQUEST:
        return
    given = answer.headers.get("retry-after", "")
    seconds = float(given) if given.isascii() and given.isdigit() else None
    if answer.status_code in _TEMPORARY and (answer.status_code != HTTPStatus.CONFLICT or seconds is not None):
        raise Broken(sentence_of(answer), seconds or 0.0, answer.status_code)
    raise Refused(answer.status_code, sentence_of(answer))


async def ask(http: httpx.AsyncClient, attempts: Attempts, method: str, path: str, **options: Any) -> httpx.Response:
    """The answer to a request that may be sent twice without harm. Raises Refused, ClickException."""
    while True:
        try:
            answer = await send(http, method, path, **options)
            check(answer)
        except Broken as error:
            await attempts.wait(error)
        else:
            return answer


def json_of(answer: httpx.Response) -> dict[str, Any]:
    try:
        return msgspec.json.decode(answer.content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise click.ClickException("The server's answer is not one of the Images API.") from None


async def show_image(http: httpx.AsyncClient, attempts: Attempts, image_id: str) -> Image:
    return json_of(await ask(http, attempts, "GET", f"/v2/images/{image_id}"))


class FileDigest:
    """A digest of a file, computed of each byte once, however often the byte is read."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self._digest = hashlib.new(algorithm)
        self._size = 0

    def add(self, start: int, data: bytes) -> None:
        """The bytes at `start`, which is not beyond what was added before."""
        new = self._size - start
        if 0 <= new < len(data):
            self._digest.update(data[new:])
            self._size = start + len(data)

    def add_until(self, stream: BinaryIO, end: int) -> None:
        """Read what is missing before `end`."""
        while self._size < end:
            stream.seek(self._size)
            data = stream.read(min(CHUNK_BYTES, end - self._size))
            if not data:
                return
            self.add(self._size, data)

    def value(self) -> str:
        return self._digest.hexdigest()


def digest_of(image: Image) -> tuple[str, str] | None:
    """The algorithm and the digest that the server tells of an image's bytes; the best that can be checked here."""
    algorithm, value = str(image.get("os_hash_algo") or ""), image.get("os_hash_value")
    if value and algorithm in hashlib.algorithms_available:
        return algorithm, str(value)
    return ("md5", str(image["checksum"])) if image.get("checksum") else None


async def is_digest_of(image: Image, path: Path, known: FileDigest) -> bool | None:
    """Whether a file has the bytes of an image; None if the server tells no digest. `known` is of the whole file."""
    found = digest_of(image)
    if found is None:
        return None
    algorithm, value = found
    if algorithm != known.algorithm:
        known = FileDigest(algorithm)
        with path.open("rb") as stream:
            await asyncio.to_thread(known.add_until, stream, os.fstat(stream.fileno()).st_size)
    return known.value() == value
