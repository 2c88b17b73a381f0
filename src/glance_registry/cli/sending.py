# SPDX-License-Identifier: Apache-2.0
"""Sends a file to an image, and goes on after breaks: what `image upload` does.

Nothing is kept on this machine. The server tells the upload of an image (`GET …/uploads`) and how far it has come, so
a command that is called again with the image's id goes on.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

import click
import httpx
from msgspec import Struct

from glance_registry.cli.client import Refused
from glance_registry.cli.retries import (
    CHUNK_BYTES,
    Attempts,
    Broken,
    FileDigest,
    Image,
    ask,
    check,
    is_digest_of,
    json_of,
    patient,
    send,
    show_image,
)

PARTIAL = "application/partial-upload"
BYTES = "application/octet-stream"

_NO_SUCH_PATH = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
"""What a Glance answers to what only we can do."""

_OVER = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
"""The upload has ended; the image tells how."""

_CHECK_SECONDS = 60.0
_CHECKED_BYTES_A_SECOND = 20_000_000
"""A server reads all bytes back before it answers the last piece; a slow one takes so long."""


class Report(Struct, frozen=True):
    """Where the command says what happens."""

    tell: Callable[[str], None]
    advance_to: Callable[[int], None]
    """How many bytes have been sent."""


async def create_image(http: httpx.AsyncClient, body: Mapping[str, Any]) -> str:
    """The id of a new image. Raises Refused, ClickException."""
    try:
        answer = await send(http, "POST", "/v2/images", json=body)
        check(answer)
    except Broken as error:
        # Sent again, it might make a second image.
        raise click.ClickException(f"{error} Whether there is a new image is not known.") from None
    return str(json_of(answer)["id"])


async def send_file(http: httpx.AsyncClient, image_id: str, path: Path, store: str | None, report: Report) -> Image:
    """The image, active with the file's bytes. Raises Refused, ClickException."""
    with path.open("rb") as stream:
        return await _Sending(http, image_id, path, stream, report).run(store)


class _Sending:
    def __init__(self, http: httpx.AsyncClient, image_id: str, path: Path, stream: BinaryIO, report: Report) -> None:
        self._http = http
        self._image_id = image_id
        self._path = path
        self._stream = stream
        self._size = path.stat().st_size
        self._report = report
        self._attempts = Attempts(report.tell)
        self._digest = FileDigest("sha512")
        self._patience = _CHECK_SECONDS + self._size / _CHECKED_BYTES_A_SECOND
        """Seconds that the last answer may take."""

    async def run(self, store: str | None) -> Image:
        image = await show_image(self._http, self._attempts, self._image_id)
        if image.get("status") not in ("queued", "saving"):
            return await self._verified()
        location = await self._begin(store)
        if location is None:
            await self._put(store)
        else:
            await self._send_from(location)
        return await self._verified()

    async def _begin(self, store: str | None) -> str | None:
        """The path of the image's upload; None if the server has no such uploads."""
        given = {"upload-length": str(self._size), **({"x-image-meta-store": store} if store else {})}
        while True:
            try:
                answer = await send(self._http, "POST", f"/v2/images/{self._image_id}/uploads", headers=given)
                if answer.status_code in _NO_SUCH_PATH:
                    return None
                if answer.status_code == HTTPStatus.CONFLICT:
                    # It has one already, perhaps because the answer to an earlier request was lost.
                    return await self._find(answer)
                check(answer)
            except Broken as error:
                await self._attempts.wait(error)
            else:
                return httpx.URL(answer.headers["location"]).raw_path.decode()

    async def _find(self, refusal: httpx.Response) -> str:
        answer = await ask(self._http, self._attempts, "GET", f"/v2/images/{self._image_id}/uploads")
        for found in json_of(answer).get("uploads", ()):
            if found["length"] not in (None, self._size):
                raise click.ClickException(
                    f"An upload of another file is under way for this image: it has {found['length']} bytes, and"
                    f" {self._path} has {self._size}."
                )
            return str(found["self"])
        check(refusal)
        raise click.ClickException("The image has no upload that could go on.")

    async def _send_from(self, location: str) -> None:
        """Send what the server has not, again and again, until the image is active."""
        best = 0
        check_until = None
        while True:
            try:
                offset = await self._ask_offset(location)
                if offset is None:
                    return
                if offset > best:
                    best = offset
                    self._attempts.progressed()
                if offset == self._size and check_until is None:
                    check_until = time.monotonic() + self._patience
                await asyncio.to_thread(self._digest.add_until, self._stream, offset)
                self._report.advance_to(offset)
                if await self._send_piece(location, offset):
                    return
            except Broken as error:
                if check_until is not None and time.monotonic() < check_until and error.status == HTTPStatus.CONFLICT:
                    self._attempts.progressed()
                await self._attempts.wait(error)

    async def _ask_offset(self, location: str) -> int | None:
        """How many bytes the server has; None when the upload is over."""
        answer = await send(self._http, "HEAD", location)
        if answer.status_code in _OVER:
            return None
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            # An answer to HEAD has no sentence.
            answer = await send(self._http, "GET", location)
        check(answer)
        if answer.headers.get("upload-complete") == "?1":
            return None
        offset = int(answer.headers["upload-offset"])
        if offset > self._size:
            raise click.ClickException(
                f"An upload of another file is under way for this image: {offset} bytes have come, and {self._path}"
                f" has {self._size}."
            )
        return offset

    async def _send_piece(self, location: str, offset: int) -> bool:
        """Whether the image is active."""
        headers = {
            "content-type": PARTIAL,
            "content-length": str(self._size - offset),
            "upload-offset": str(offset),
            "upload-complete": "?1",
        }
        timeout = patient(self._http, self._patience)
        answer = await send(
            self._http, "PATCH", location, content=self._read_from(offset), headers=headers, timeout=timeout
        )
        if "upload-offset" in answer.headers and answer.status_code == HTTPStatus.CONFLICT:
            raise Broken(f"The server has {answer.headers['upload-offset']} bytes, and not {offset}.")
        if answer.status_code in _OVER:
            return True
        check(answer)
        return bool(answer.headers.get("upload-complete") == "?1")

    async def _put(self, store: str | None) -> None:
        self._report.tell("The server cannot go on after a break; all bytes are sent in one request.")
        headers = {
            "content-type": BYTES,
            "content-length": str(self._size),
            **({"x-image-meta-store": store} if store else {}),
        }
        try:
            answer = await send(
                self._http,
                "PUT",
                f"/v2/images/{self._image_id}/file",
                content=self._read_from(0),
                headers=headers,
                timeout=patient(self._http, self._patience),
            )
            check(answer)
        except Broken as error:
            raise click.ClickException(f"{error} Call the command again with the image's id.") from None

    async def _read_from(self, offset: int) -> AsyncIterator[bytes]:
        while offset < self._size:
            data = await asyncio.to_thread(self._read, offset)
            if not data:
                raise click.ClickException(f"{self._path} became shorter while it was sent.")
            yield data
            offset += len(data)
            self._report.advance_to(offset)

    def _read(self, offset: int) -> bytes:
        self._stream.seek(offset)
        data = self._stream.read(min(CHUNK_BYTES, self._size - offset))
        self._digest.add(offset, data)
        return data

    async def _verified(self) -> Image:
        """The image, if it is active with the file's bytes. Raises ClickException."""
        image = await show_image(self._http, self._attempts, self._image_id)
        if image.get("status") != "active":
            raise click.ClickException(
                f"The upload has ended, and the image's status is '{image.get('status')}': it expired, or somebody gave"
                " it up. Call the command again with the image's id."
            )
        await asyncio.to_thread(self._digest.add_until, self._stream, self._size)
        is_same = await is_digest_of(image, self._path, self._digest)
        if is_same is None:
            self._report.tell("The server tells no digest, so the image was not compared with the file.")
        elif not is_same:
            raise Refused(HTTPStatus.CONFLICT, f"The image has other bytes than {self._path}: their digests differ.")
        return image
