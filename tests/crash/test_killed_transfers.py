# SPDX-License-Identifier: Apache-2.0
"""Killed again and again while many upload: what was acknowledged reads back, the rest is queued, no byte is left."""

import asyncio
import hashlib
import http.client
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import make_url
from tests.figures import Figure
from tests.options import make_settings
from tests.processes import SECONDS, Server, run_program, wait_until

from glance_registry.app import open_stores
from glance_registry.catalogue.open import open_catalogue
from glance_registry.transfer.reaper import sweep
from glance_registry.transfer.upload import LEASE, Transfers

MIB = 1_048_576
UPLOADERS = 8
FORMATS = {"name": "image", "disk_format": "raw", "container_format": "bare"}
BYTES = {"content-type": "application/octet-stream"}
QUEUED = {"status": "queued", "size": None, "checksum": None, "os_hash_value": None, "virtual_size": None}


class Uploader:
    """Uploads one image after the other, and knows the digests of what was acknowledged and of what was not."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.acknowledged: dict[str, str] = {}
        self.unsure: dict[str, str] = {}
        self.surprise = ""

    def upload_until(self, stopped: threading.Event, port: int) -> None:
        while not stopped.is_set() and not self.surprise:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
            try:
                self._upload(connection)
            except (OSError, http.client.HTTPException):
                stopped.wait(0.05)
            finally:
                connection.close()

    def _upload(self, connection: http.client.HTTPConnection) -> None:
        connection.request("POST", "/v2/images", json.dumps(FORMATS), {"content-type": "application/json"})
        image_id = json.loads(connection.getresponse().read())["id"]
        part = os.urandom(MIB)  # Unlike all others.
        digest = hashlib.sha512()
        for _ in range(self._size // MIB):
            digest.update(part)
        self.unsure[image_id] = digest.hexdigest()
        body = (part for _ in range(self._size // MIB))
        connection.request("PUT", f"/v2/images/{image_id}/file", body, BYTES, encode_chunked=True)
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != 204:
            self.surprise = f"{answer.status} {text}"
            return
        self.acknowledged[image_id] = self.unsure.pop(image_id)


class Scene:
    """A server with two workers under many uploads."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.server = Server(folder, url, "--workers", "2").__enter__()

    def restart_after_kill(self) -> None:
        self.server.kill_all()
        self.server.__exit__()
        self.server = Server(self.folder, self.url, "--workers", "2").__enter__()

    def upload_during_kill(self, uploaders: list[Uploader], seconds: float) -> None:
        stopped = threading.Event()
        with ThreadPoolExecutor(len(uploaders)) as threads:
            running = [threads.submit(uploader.upload_until, stopped, self.server.port) for uploader in uploaders]
            time.sleep(random.uniform(0, seconds))
            stopped.set()
            self.restart_after_kill()
        for one in running:
            one.result()

    def end_leases(self) -> None:
        """What a reaper does whose clock has gone on."""

        async def run() -> None:
            catalogue = open_catalogue(self.url)
            stores = open_stores(make_settings(stores__directory=str(self.folder / "glance-registry-images")))
            threads = ThreadPoolExecutor(1)
            transfers = Transfers(
                catalogue=catalogue,
                stores=stores,
                threads=threads,
                now=lambda: datetime.now(UTC) + 2 * LEASE + timedelta(minutes=5),
                new_key=lambda: uuid4().hex,
                wake_reaper=lambda: None,
            )
            await sweep(transfers)
            await transfers.close()
            await catalogue.close()

        asyncio.run(run())

    def show(self, image_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.server.http.get(f"/v2/images/{image_id}").json()
        return found

    def digest(self, image_id: str) -> str:
        """Of the bytes that a client gets."""
        digest = hashlib.sha512()
        with self.server.http.stream("GET", f"/v2/images/{image_id}/file") as answer:
            assert answer.status_code == 200
            for chunk in answer.iter_bytes():
                digest.update(chunk)
        return digest.hexdigest()

    def objects(self) -> int:
        return sum(path.is_file() for path in (self.folder / "glance-registry-images").rglob("*"))

    def assert_sound(self) -> None:
        for command in (["db", "check"], ["store", "check", "--deep"]):
            checked = run_program(self.folder, *command, "--database", self.url)
            assert checked.returncode == 0, checked.stdout + checked.stderr

    def end(self) -> None:
        self.server.kill_all()
        self.server.__exit__()


@pytest.fixture
def scene(tmp_path: Path, database: str) -> Iterator[Scene]:
    scene = Scene(tmp_path, database)
    yield scene
    scene.end()


@pytest.mark.parametrize(
    ("kills", "size", "seconds"),
    [(2, 20 * MIB, 2.0), pytest.param(12, 100 * MIB, 10.0, marks=pytest.mark.nightly)],
    ids=["few", "many"],
)
def test_a_killed_program_keeps_what_it_acknowledged_and_nothing_else(
    scene: Scene, kills: int, size: int, seconds: float, figure: Figure
) -> None:
    acknowledged = queued = 0
    for _ in range(kills):
        uploaders = [Uploader(size) for _ in range(UPLOADERS)]
        scene.upload_during_kill(uploaders, seconds)
        scene.end_leases()

        assert [uploader.surprise for uploader in uploaders if uploader.surprise] == []
        active = {image_id: digest for uploader in uploaders for image_id, digest in uploader.acknowledged.items()}
        acknowledged += len(active)
        for image_id, expected in ((key, value) for uploader in uploaders for key, value in uploader.unsure.items()):
            shown = scene.show(image_id)
            if shown["status"] == "active":  # Only the answer was lost.
                active[image_id] = expected
            else:
                assert {name: shown[name] for name in QUEUED} == QUEUED
                queued += 1
        for image_id, expected in active.items():
            assert scene.show(image_id)["os_hash_value"] == expected
            assert scene.digest(image_id) == expected
        assert scene.objects() == len(active)
        scene.assert_sound()
        for image_id in active:
            assert scene.server.http.delete(f"/v2/images/{image_id}").status_code == 204
        wait_until(lambda: scene.objects() == 0)

    what = f"SIGKILL during {UPLOADERS} uploads of {size // MIB} MiB, {make_url(scene.url).get_backend_name()}"
    figure(f"{what}: kills", kills)
    figure(f"{what}: uploads acknowledged, all read back", acknowledged)
    figure(f"{what}: uploads cut, their images queued and no byte left", queued)
