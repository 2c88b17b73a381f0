# SPDX-License-Identifier: Apache-2.0
"""Fetches the bytes of an image, and goes on after breaks: what `image download` does.

The bytes come into a file beside the wanted one, whose name has their digest. A command that is called again goes on
with it. Only when the digest is right is it given its name.
"""

import asyncio
import fcntl
import os
import re
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

import click
import httpx

from glance_registry.cli.client import Refused
from glance_registry.cli.retries import (
    CHUNK_BYTES,
    Attempts,
    Broken,
    FileDigest,
    Image,
    ask,
    broken,
    check,
    digest_of,
    json_of,
    show_image,
)
from glance_registry.cli.sending import Report

MAX_PIECE_BYTES = 16 * CHUNK_BYTES
"""Of one answer that is held in memory as a whole."""

_ID = re.compile(r"[A-Za-z0-9._~-]{1,36}")
_FILE_NAME = re.compile(r"[\w+][\w+.() -]{0,199}")


async def find_image(http: httpx.AsyncClient, report: Report, wanted: str) -> Image:
    """The image with this id, or else the only one with this name. Raises Refused, ClickException."""
    attempts = Attempts(report.tell)
    if _ID.fullmatch(wanted):
        try:
            return await show_image(http, attempts, wanted)
        except Refused as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
    query = {"name": wanted, "limit": "2"}
    found = json_of(await ask(http, attempts, "GET", "/v2/images", params=query)).get("images", [])
    if not found:
        raise click.ClickException(f"There is no image with the id or name '{wanted}'.")
    if len(found) > 1:
        raise click.ClickException(f"Several images have the name '{wanted}'; give the id of one.")
    image: Image = found[0]
    return image


def file_name(image: Image) -> str:
    """The image's name if that can be a file's, else its id."""
    name = str(image.get("name") or "")
    return name if _FILE_NAME.fullmatch(name) else str(image["id"])


async def fetch_file(http: httpx.AsyncClient, image: Image, target: Path, report: Report, *, whole: bool) -> None:
    """Write the image's bytes to a file. `whole`: answers are held in memory.

    Raises Refused, ClickException, OSError.
    """
    _check_has_bytes(image)
    partial = _partial(image, target)
    with partial.open("ab+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise click.ClickException(f"Another process writes {partial} already.") from None
        try:
            await _Fetching(http, image, stream, report, whole=whole).run(stream.seek(0, os.SEEK_END))
        except _OtherBytes:
            partial.unlink()
            raise
        await asyncio.to_thread(_sync, stream)
        partial.replace(target)
    await asyncio.to_thread(_sync_folder, target.parent)


async def fetch_stream(http: httpx.AsyncClient, image: Image, stream: BinaryIO, report: Report, *, whole: bool) -> None:
    """Write the image's bytes to a pipe. Raises Refused, ClickException, also when they turn out to be wrong."""
    _check_has_bytes(image)
    await _Fetching(http, image, stream, report, whole=whole).run(0)
    stream.flush()


class _OtherBytes(click.ClickException):
    """The bytes that came are not those of the image."""


class _Fetching:
    def __init__(self, http: httpx.AsyncClient, image: Image, stream: BinaryIO, report: Report, *, whole: bool) -> None:
        self._http = http
        self._id = str(image["id"])
        self._size = int(image["size"])
        self._expected = digest_of(image)
        self._digest = FileDigest("md5" if self._expected is None else self._expected[0])
        self._stream = stream
        self._report = report
        self._whole = whole
        self._attempts = Attempts(report.tell)
        self._etag = f'"{image.get("os_hash_value")}"'
        self._offset = 0

    async def run(self, offset: int) -> None:
        """Fetch what is missing after the bytes that the stream has, and compare the digest."""
        if offset > self._size:
            raise _OtherBytes("What an earlier call has written is longer than the image; it is removed. Try again.")
        await asyncio.to_thread(self._digest.add_until, self._stream, offset)
        self._offset = offset
        self._report.advance_to(offset)
        while self._offset < self._size:
            before = self._offset
            try:
                await self._fetch()
            except Broken as error:
                if self._offset > before:
                    self._attempts.progressed()
                await self._attempts.wait(error)
        if self._expected is None:
            self._report.tell("The server tells no digest, so the bytes were not checked.")
        elif self._digest.value() != self._expected[1]:
            raise _OtherBytes(f"The bytes are not those of the image: their {self._digest.algorithm} differs.")

    async def _fetch(self) -> None:
        """Fetch until the answer ends. Raises Broken, Refused."""
        end = min(self._size, self._offset + MAX_PIECE_BYTES) if self._whole else self._size
        headers = {"accept": "application/octet-stream", "accept-encoding": "identity"}
        if (self._offset, end) != (0, self._size):
            headers |= {"range": f"bytes={self._offset}-{end - 1}", "if-range": self._etag}
        try:
            async with self._http.stream("GET", f"/v2/images/{self._id}/file", headers=headers) as answer:
                if answer.status_code >= HTTPStatus.BAD_REQUEST:
                    await answer.aread()
                    check(answer)
                await self._take(answer)
        except httpx.TransportError as error:
            raise broken(error) from error

    async def _take(self, answer: httpx.Response) -> None:
        if answer.status_code == HTTPStatus.NO_CONTENT:
            raise click.ClickException("The image has no bytes any more.")
        # A server that knows no ranges sends all bytes again.
        passed = self._offset if answer.status_code == HTTPStatus.OK else 0
        content_range = answer.headers.get("content-range", "")
        if answer.status_code == HTTPStatus.PARTIAL_CONTENT and not content_range.startswith(f"bytes {self._offset}-"):
            raise click.ClickException(f"The server sent another range than it was asked for: {content_range!r}.")
        async for data in answer.aiter_bytes(CHUNK_BYTES):
            new = data[passed:]
            passed = max(0, passed - len(data))
            if self._offset + len(new) > self._size:
                raise _OtherBytes(f"More than the {self._size} bytes of the image came.")
            if new:
                await asyncio.to_thread(self._write, new)
                self._report.advance_to(self._offset)

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._digest.add(self._offset, data)
        self._offset += len(data)


def _check_has_bytes(image: Image) -> None:
    if image.get("status") not in ("active", "deactivated") or not isinstance(image.get("size"), int):
        raise click.ClickException(f"The image has no bytes: its status is '{image.get('status')}'.")


def _partial(image: Image, target: Path) -> Path:
    """Where the bytes come: a name that has their digest, so that those of two images are never mixed."""
    found = digest_of(image)
    return target.with_name(f".{target.name[:150]}.{found[1][:16] if found else image['id']}.part")


def _sync(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
