# SPDX-License-Identifier: Apache-2.0
"""The conversations of Glance 33 (2026) about bytes of images, replayed against ours: uploads, downloads, deletion.

Statuses, headers, images and bytes must be the same. What differs on purpose is listed below and in docs/compat.md: a
difference that is not listed fails, and so does one that is listed but gone. Rows have the names that they have in the
recording, file:line.

Left out are rows about staging, import and copies between stores (01:7, 12, 41, 68-70; 02:57-59; 11:37-48, 63-68), the
cache (02:4), the read-only store and the full one that only that deployment had (01:98-100, 104-106; tests/stores fills
a disk), polls while a client vanishes (01:79, 81, 86, 88), and two rows whose image is not in the recording (02:77,
11:73). Two rows have an effect here that they had not there, which would change all that follow: an upload as
`APPLICATION/Octet-Stream; charset=x` (01:34; 01:38 is the same) and the deletion by a reader (11:7; 01:47 is alike).
"""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.compat.disks import pattern
from tests.conftest import Client, identity
from tests.options import change_settings, make_settings
from tests.raw import Body, ask

Json = Any

FOLDER = Path(__file__).parent
RECORDED = [json.loads(line) for line in (FOLDER / "glance33.jsonl").read_text().splitlines()]
ROWS = {row["row"]: row for row in RECORDED}
PAGE = Path(__file__).parents[2] / "docs" / "compat.md"

CALLERS = {
    "member A": identity("project-A", "member,reader", "alice"),
    "member B": identity("project-B", "member,reader", "bob"),
    "reader A": identity("project-A", "reader", "rita"),
    "admin": identity("project-admin", "admin,member,reader", "root"),
    "nobody": {},
}
MEBIBYTE = 1024 * 1024

# name of the difference, as in docs/compat.md -> row -> our status, or None when the answer differs in something else
DIFFERENCES: dict[str, dict[str, int | None]] = {
    # The role reader is one like any other: who belongs to a project uploads, downloads and deletes.
    "readers": {"01:47": 204, "02:46": 200},
    # They are admitted, unless a setting says otherwise, and see what is public.
    "callers without identity": {
        "01:48": 403,
        "11:8": 403,
        "02:49": 404,
        "02:98": 200,
        "02:100": 200,
        "02:101": 200,
        "02:102": 200,
    },
    "letter case of the content type": {"01:38": 204},
    "methods": {"01:42": 405, "01:43": None, "02:6": 200, "02:7": 200, "02:8": 405, "02:54": 204},
    "usage": {"01:77": None},
    "an empty name of a store": {"01:102": 204, "01:103": None},
    "a change during an upload": {"01:17": None},
    "ranges": {"02:16": 416, "02:26": 416, "02:37": 206, "02:40": 416, "02:63": 416},
    "conditions": {"02:43": 200, "02:44": 304},
    "no answer": {"02:39": 416, "02:53": 204},
    "lost bytes": {"02:114": 503, "02:115": 503},
    "stores of a deactivated image": {"02:65": None},
    "locations of a deactivated image": {"02:66": None},
    "disk formats": {"07:120": 201},
    "bytes of a deleted image": {"11:29": None},
}

WHERE_BYTES_LIE = "where bytes lie"
URL_OF_NEW = "the url of a new image"
IMPORT_HEADERS = "headers of a new image"
EVERYWHERE = {WHERE_BYTES_LIE, URL_OF_NEW, IMPORT_HEADERS}
"""In too many rows to list them. Sentences of errors are not compared at all."""


@cache
def content(kind: str) -> bytes:
    """The bytes that a name of the recording stands for."""
    name, _, part = kind.partition("[")
    if part:
        start, end = (int(number) for number in part.removesuffix("]").split(":"))
        return content(name)[start:end]
    name, _, size = name.partition("-")
    if name == "empty":
        return b""
    length = int(size.removesuffix("MiB")) * (MEBIBYTE if size.endswith("MiB") else 1)
    return bytes(length) if name == "zeros" else pattern(length)


def resolve(text: str) -> str:
    """Write out projects and digests."""
    text = re.sub(r"<(project-\w+)>", r"\1", text)
    return re.sub(
        r"<(md5|sha512) of ([\w-]+)>", lambda found: hashlib.new(found[1], content(found[2])).hexdigest(), text
    )


class Replay:
    """Sends recorded requests, with our ids in place of theirs, and collects how the answers differ."""

    def __init__(self, database: str, folder: Path) -> None:
        main = make_settings(
            database,
            identity__mode="context",
            stores__enabled=("fast:file", "cheap:file"),
            stores__directory=str(folder),
            images__show_multiple_locations=True,
            images__show_image_direct_url=True,
            images__require_image_format_match=False,
        )
        quota = change_settings(main, limits__bytes_per_owner=2 * MEBIBYTE, images__show_multiple_locations=False)
        settings = {
            "main": main,
            "cap": change_settings(main, limits__image_size_cap=MEBIBYTE),
            "quota": change_settings(quota, images__show_image_direct_url=False),
        }
        self._clients = {name: Client(values) for name, values in settings.items()}
        self._folder = folder
        self._ids: dict[str, str] = {}
        self._running: dict[str, asyncio.Task[httpx.Response]] = {}
        self._released = asyncio.Event()

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def run(self, row: Json) -> Iterator[str]:
        """The differences of one row."""
        if "begins" in row:
            self._begin(ROWS[row["begins"]])
        if "do" in row:
            for path in self._files():
                path.unlink()
        elif "files" in row:
            self._clients["main"].sweep()
            found = sorted({path.relative_to(self._folder).parts[0] for path in self._files()})
            yield from [] if found == row["files"] else [f"files in {found} instead of {row['files']}"]
        elif row["status"] is None:
            self._vanish(row)
        else:
            yield from self._compare(row, self._send(row))

    def _files(self) -> list[Path]:
        return [path for path in self._folder.rglob("*") if path.is_file()]

    def _request(self, row: Json, body: Any) -> dict[str, Any]:
        headers = {**CALLERS[row.get("who", "member A")], **row.get("headers", {})}
        is_chunked = headers.pop("transfer-encoding", None) is not None
        options: dict[str, Any] = {"headers": headers}
        if "body" in row:
            options["content"] = self._translate(json.dumps(row["body"]))
        elif is_chunked or "bytes" in row:
            options["content"] = _chunks(body) if is_chunked else body
        return {"method": row["method"], "url": self._translate(row["path"]), **options}

    def _send(self, row: Json) -> httpx.Response:
        client = self._clients[row.get("server", "main")]
        if row["row"] in self._running:
            return client.runner.run(self._finish(self._running.pop(row["row"])))
        request = self._request(row, content(row.get("bytes", "empty")))
        return client.request(request.pop("method"), request.pop("url"), **request)

    def _begin(self, row: Json) -> None:
        """Send half of an upload; the image is being saved when this returns."""
        data = content(row["bytes"])
        came, self._released = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            came.set()
            yield data[: len(data) // 2]
            await self._released.wait()
            yield data[len(data) // 2 :]

        async def start() -> None:
            request = self._request(row, data)
            request["content"] = slow()
            self._running[row["row"]] = asyncio.create_task(client.http.request(**request))
            await came.wait()

        client = self._clients["main"]
        client.runner.run(start())

    async def _finish(self, running: asyncio.Task[httpx.Response]) -> httpx.Response:
        self._released.set()
        return await running

    def _vanish(self, row: Json) -> None:
        """Send half of the body and close the connection."""

        class Cut(Body):
            async def receive(self) -> dict[str, Any]:
                message = await super().receive()
                return message if message["more_body"] else {"type": "http.disconnect"}

        headers = {**CALLERS["member A"], **row["headers"]}
        if headers.pop("transfer-encoding", None) is None:
            headers["content-length"] = "200000"
        given = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        ask(self._clients["main"], "PUT", self._translate(row["path"]), headers=given, body=Cut([pattern(100_000)]))

    def _translate(self, text: str) -> str:
        return re.sub(r"<image-\d+>", lambda found: self._ids.get(found[0], found[0]), resolve(text))

    def _compare(self, row: Json, answer: httpx.Response) -> Iterator[str]:
        if answer.status_code != row["status"]:
            yield f"{answer.status_code} instead of {row['status']}"
            return
        if row["status"] == 201:
            self._ids[row["answer"]["id"]] = answer.json()["id"]
        for name, theirs in row.get("answer_headers", {}).items():
            yield from self._of_headers(name, self._translate(theirs), answer.headers.get(name))
        if "answer" in row:
            yield from _of_values("answer", json.loads(self._translate(json.dumps(row["answer"]))), answer.json())
        elif "answer_bytes" in row or "answer_text" in row:
            wanted = content(row["answer_bytes"]) if "answer_bytes" in row else row["answer_text"].encode()
            yield from [] if answer.content == wanted else ["other bytes"]

    def _of_headers(self, name: str, theirs: str, ours: str | None) -> Iterator[str]:
        if ours is not None and name == "content-type":
            ours = ours.partition(";")[0]
        if ours == theirs:
            return
        if name == "location" and ours is not None and theirs == f"http://glance{ours}":
            yield URL_OF_NEW
        elif (name, ours) in (("openstack-image-import-methods", None), ("openstack-image-store-ids", "fast,cheap")):
            yield IMPORT_HEADERS
        else:
            yield f"{name} {ours} instead of {theirs}"


WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def _of_values(field: str, theirs: Json, ours: Json) -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in sorted(theirs.keys() | ours.keys()):
            yield from _of_values(name, theirs.get(name, "(absent)"), ours.get(name, "(absent)"))
    elif field in ("created_at", "updated_at"):
        yield from [] if WHEN.fullmatch(str(ours)) else [f"{field} {ours!r}"]
    elif field == "stores" and isinstance(theirs, str) and isinstance(ours, str):
        yield from [] if sorted(theirs.split(",")) == ours.split(",") else [f"stores {ours!r} instead of {theirs!r}"]
    elif field == "locations" and isinstance(ours, list) and len(theirs) == len(ours):
        for their_location, our_location in zip(theirs, ours, strict=True):
            yield from _of_values("location", their_location, our_location)
    elif field in ("url", "direct_url") and _is_object_of(ours, theirs):
        yield WHERE_BYTES_LIE
    elif theirs != ours or type(theirs) is not type(ours):
        yield f"{field} {ours!r} instead of {theirs!r}"


def _is_object_of(ours: str, theirs: str) -> bool:
    """Whether both URLs name a file in the same store."""
    store = re.fullmatch(r"file:///stores/(\w+)/[\w<>-]+", theirs)
    return store is not None and re.fullmatch(rf"file:///.+/{store[1]}/objects/\w\w/\w{{32}}", ours) is not None


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 65_536):
        yield data[start : start + 65_536]


def name_of(row: str, what: str) -> str:
    """The name of a difference that is listed; else what it is."""
    for name, rows in DIFFERENCES.items():
        if row in rows and (rows[row] is None or what.startswith(f"{rows[row]} instead of ")):
            return name
    return what


@pytest.mark.parametrize("file", ["01", "02", "07", "11"])
def test_the_recorded_conversations_go_the_same_way_but_for_the_listed_differences(
    database: str, tmp_path: Path, file: str
) -> None:
    replay = Replay(database, tmp_path / "stores")
    rows = [row for row in RECORDED if row["row"].startswith(f"{file}:")]

    found = {(row["row"], name_of(row["row"], what)) for row in rows for what in replay.run(row)}
    replay.close()

    listed = {(row, name) for name, numbers in DIFFERENCES.items() for row in numbers if row.startswith(f"{file}:")}
    everywhere = {(row, name) for row, name in found if name in EVERYWHERE}
    assert sorted(found - listed - everywhere) == [], "differences that are not listed"
    assert sorted(listed - found) == [], "differences that are listed and do not occur"
    assert {name for _, name in everywhere} == (set() if file == "07" else EVERYWHERE)


def test_all_recorded_rows_that_concern_what_is_served_are_replayed() -> None:
    assert len(RECORDED) == 284


@pytest.mark.parametrize("difference", [*DIFFERENCES, *sorted(EVERYWHERE), "words of Glance's errors"])
def test_the_page_for_operators_names_each_difference(difference: str) -> None:
    assert f"**{difference}**" in PAGE.read_text()
