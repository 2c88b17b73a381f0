# SPDX-License-Identifier: Apache-2.0
"""Killed in the middle of one upload again and again: what came is kept, and the upload goes on to its end."""

import hashlib
import http.client
import json
import os
from collections.abc import Iterator
from uuid import uuid4

import pytest
from tests.crash.test_killed_transfers import FORMATS, MIB, STORAGES, Scene
from tests.figures import Figure
from tests.processes import SECONDS, wait_until

PIECE = 7 * MIB
"""So much is sent before each kill."""


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: object) -> Iterator[Scene]:
    engine, is_bucket = STORAGES[request.param]
    section = None
    if is_bucket:
        section = request.getfixturevalue("swift").section(f"{uuid4().hex}/", s3_store_large_object_chunk_size=5)
    scene = Scene(request.getfixturevalue("tmp_path"), request.getfixturevalue(f"{engine}_database"), section)
    yield scene
    scene.end()


class Client:
    """Sends one image over connections that die with the server."""

    def __init__(self, scene: Scene, data: bytes) -> None:
        self._scene = scene
        self._data = data
        created = scene.server.http.post("/v2/images", json=FORMATS)
        self.image_id = created.json()["id"]
        length = {"upload-length": str(len(data))}
        begun = scene.server.http.post(f"/v2/images/{self.image_id}/uploads", headers=length)
        self.location = begun.headers["location"]

    def offset(self) -> int:
        """What the server has kept; it answers 409 until the one that was killed counts as dead."""
        found: list[int] = []

        def is_told() -> bool:
            answer = self._scene.server.http.head(self.location)
            assert answer.status_code in (204, 409), answer.status_code
            found.extend(int(answer.headers["upload-offset"]) for _ in range(answer.status_code == 204))
            return bool(found)

        wait_until(is_told)
        return found[0]

    def send_until_kill(self, offset: int) -> None:
        """Send some bytes of a piece that says it has all the rest, and kill the program while it waits for more."""
        connection = http.client.HTTPConnection("127.0.0.1", self._scene.server.port, timeout=SECONDS)
        connection.putrequest("PATCH", self.location)
        for name, value in self._headers(offset).items():
            connection.putheader(name, value)
        connection.endheaders(self._data[offset : offset + PIECE])
        wait_until(lambda: self._upload()["offset"] is None)
        self._scene.restart_after_kill()
        connection.close()

    def finish(self, offset: int) -> None:
        rest = self._data[offset:]
        answer = self._scene.server.http.patch(self.location, content=rest, headers=self._headers(offset))
        assert (answer.status_code, answer.headers["upload-complete"]) == (204, "?1")

    def _headers(self, offset: int) -> dict[str, str]:
        return {
            "content-type": "application/partial-upload",
            "content-length": str(len(self._data) - offset),
            "upload-offset": str(offset),
            "upload-complete": "?1",
        }

    def _upload(self) -> dict[str, object]:
        listed = self._scene.server.http.get(f"/v2/images/{self.image_id}/uploads")
        found: dict[str, object] = json.loads(listed.content)["uploads"][0]
        return found


@pytest.mark.parametrize(
    ("scene", "kills"),
    [
        *(pytest.param(storage, 1, id=f"{storage}-once") for storage in STORAGES),
        *(pytest.param(storage, 10, id=f"{storage}-often", marks=pytest.mark.nightly) for storage in STORAGES),
    ],
    indirect=["scene"],
)
def test_an_upload_goes_on_after_each_kill(
    request: pytest.FixtureRequest, scene: Scene, kills: int, figure: Figure
) -> None:
    data = os.urandom(MIB) * 90
    client = Client(scene, data)
    offset = 0
    for _ in range(kills):
        client.send_until_kill(offset)
        before, offset = offset, client.offset()
        assert before <= offset <= before + PIECE

    client.finish(offset)

    assert scene.show(client.image_id)["os_hash_value"] == hashlib.sha512(data).hexdigest()
    assert scene.digest(client.image_id) == hashlib.sha512(data).hexdigest()
    assert scene.objects() == 1
    scene.assert_sound()
    figure(f"SIGKILL during one upload with breaks, {request.node.callspec.id.rpartition('-')[0]}: kills", kills)
