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
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.figures import Figure
from tests.options import make_settings
from tests.processes import SECONDS, Server, run_program, wait_until
from tests.swift import Swift

from glance_registry.app import open_stores
from glance_registry.catalogue.open import open_catalogue
from glance_registry.settings import StoreSection
from glance_registry.transfer.reaper import sweep
from glance_registry.transfer.upload import LEASE, Transfers

MIB = 1_048_576
UPLOADERS = 8
FORMATS = {"name": "image", "disk_format": "raw", "container_format": "bare"}
BYTES = {"content-type": "application/octet-stream"}
QUEUED = {"status": "queued", "size": None, "checksum": None, "os_hash_value": None, "virtual_size": None}


class Uploader:
    """Uploads one image after the other, and knows the digests of what was acknowledged and of what was not."""

    def __init__(self, size: int, bears: tuple[int, ...] = ()) -> None:
        """`bears`: statuses that are no surprise."""
        self._size = size
        self._bears = bears
        self.refused = 0
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
        if answer.status in self._bears:
            self.refused += 1
            return
        if answer.status != 204:
            self.surprise = f"{answer.status} {text}"
            return
        self.acknowledged[image_id] = self.unsure.pop(image_id)


class Scene:
    """A server with two workers under many uploads, to a folder or to a bucket."""

    def __init__(self, folder: Path, url: str, section: StoreSection | None = None) -> None:
        self.folder = folder
        self.url = url
        self.settings = make_settings(stores__directory=str(folder / "glance-registry-images"))
        arguments = ["--workers", "2"]
        if section is not None:
            self.settings = make_settings(stores__enabled=("cold:s3",), store_sections={"cold": section})
            arguments += ["--config-file", str(self._write_settings(section))]
        self._arguments = arguments
        self.server = Server(folder, url, *arguments).__enter__()

    def _write_settings(self, section: StoreSection) -> Path:
        file = self.folder / "bucket.conf"
        options = [f"{name} = {value}" for name, value in asdict(section).items()]
        file.write_text("\n".join(["[stores]", "enabled = cold:s3", "[cold]", *options]))
        return file

    def restart_after_kill(self) -> None:
        self.server.kill_all()
        self.server.__exit__()
        self.server = Server(self.folder, self.url, *self._arguments).__enter__()

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
            stores = open_stores(self.settings)
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
        """What the store has, also of uploads that are not complete."""

        async def count() -> int:
            stores = open_stores(self.settings)
            try:
                (store,) = stores.by_name.values()
                return len([one async for one in store.list()])
            finally:
                await stores.close()

        return asyncio.run(count())

    def assert_sound(self) -> None:
        for command in (["db", "check"], ["store", "check", "--deep"]):
            checked = run_program(self.folder, *command, "--database", self.url, *self._arguments[2:])
            assert checked.returncode == 0, checked.stdout + checked.stderr

    def assert_kept(self, uploaders: list[Uploader]) -> tuple[dict[str, str], int]:
        """What was acknowledged reads back, and all else is queued: the active images, and the number of others."""
        assert [uploader.surprise for uploader in uploaders if uploader.surprise] == []
        active = {image_id: digest for uploader in uploaders for image_id, digest in uploader.acknowledged.items()}
        queued = 0
        for image_id, expected in ((key, value) for uploader in uploaders for key, value in uploader.unsure.items()):
            shown = self.show(image_id)
            if shown["status"] == "active":  # Only the answer was lost.
                active[image_id] = expected
            else:
                assert {name: shown[name] for name in QUEUED} == QUEUED
                queued += 1
        for image_id, expected in active.items():
            assert self.show(image_id)["os_hash_value"] == expected
            assert self.digest(image_id) == expected
        return active, queued

    def end(self) -> None:
        self.server.kill_all()
        self.server.__exit__()


FEW, MANY, TO_BUCKET = (2, 20 * MIB, 2.0), (12, 100 * MIB, 10.0), (12, 20 * MIB, 8.0)
"""How often, how large the images are, and how many seconds pass before a kill at most."""

STORAGES = {
    "sqlite-folder": ("sqlite", False),
    "postgresql-folder": ("postgresql", False),
    "postgresql-bucket": ("postgresql", True),
}


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    engine, is_bucket = STORAGES[request.param]
    section = None
    if is_bucket:
        section = request.getfixturevalue("swift").section(f"{uuid4().hex}/", s3_store_large_object_chunk_size=5)
    scene = Scene(tmp_path, request.getfixturevalue(f"{engine}_database"), section)
    yield scene
    scene.end()


@pytest.mark.parametrize(
    ("scene", "kills", "size", "seconds"),
    [
        pytest.param("sqlite-folder", *FEW, id="sqlite-folder-few"),
        pytest.param("postgresql-folder", *FEW, id="postgresql-folder-few"),
        pytest.param("sqlite-folder", *MANY, id="sqlite-folder-many", marks=pytest.mark.nightly),
        pytest.param("postgresql-folder", *MANY, id="postgresql-folder-many", marks=pytest.mark.nightly),
        pytest.param("postgresql-bucket", *TO_BUCKET, id="postgresql-bucket-many", marks=pytest.mark.nightly),
    ],
    indirect=["scene"],
)
def test_a_killed_program_keeps_what_it_acknowledged_and_nothing_else(
    request: pytest.FixtureRequest, scene: Scene, kills: int, size: int, seconds: float, figure: Figure
) -> None:
    acknowledged = queued = 0
    for _ in range(kills):
        uploaders = [Uploader(size) for _ in range(UPLOADERS)]
        scene.upload_during_kill(uploaders, seconds)
        scene.end_leases()

        active, waiting = scene.assert_kept(uploaders)
        acknowledged += sum(len(uploader.acknowledged) for uploader in uploaders)
        queued += waiting
        assert scene.objects() == len(active)
        scene.assert_sound()
        for image_id in active:
            assert scene.server.http.delete(f"/v2/images/{image_id}").status_code == 204
        wait_until(lambda: scene.objects() == 0)

    storage = request.node.callspec.id.rpartition("-")[0]
    what = f"SIGKILL during {UPLOADERS} uploads of {size // MIB} MiB, {storage}"
    figure(f"{what}: kills", kills)
    figure(f"{what}: uploads acknowledged, all read back", acknowledged)
    figure(f"{what}: uploads cut, their images queued and no byte left", queued)


@pytest.mark.nightly
@pytest.mark.parametrize("scene", ["postgresql-bucket"], indirect=True)
def test_uploads_go_on_after_the_object_store_was_killed(scene: Scene, swift: Swift, figure: Figure) -> None:
    """No restart of the program: what fails meanwhile is 503, and the images of these uploads are queued."""
    rounds = 5
    acknowledged = refused = 0
    for _ in range(rounds):
        uploaders = [Uploader(40 * MIB, bears=(503,)) for _ in range(UPLOADERS)]
        stopped = threading.Event()
        with ThreadPoolExecutor(len(uploaders)) as threads:
            running = [threads.submit(uploader.upload_until, stopped, scene.server.port) for uploader in uploaders]
            time.sleep(random.uniform(0.5, 3))
            swift.kill()
            time.sleep(1)
            assert scene.server.http.get("/v2/images").status_code == 200
            swift.start()
            time.sleep(3)
            stopped.set()
        for one in running:
            one.result()
        scene.end_leases()

        active, _ = scene.assert_kept(uploaders)
        acknowledged += len(active)
        refused += sum(uploader.refused for uploader in uploaders)
        assert scene.objects() == len(active)
        scene.assert_sound()
        for image_id in active:
            assert scene.server.http.delete(f"/v2/images/{image_id}").status_code == 204
        wait_until(lambda: scene.objects() == 0)
    assert acknowledged
    assert refused

    figure("SIGKILL to the object store during 8 uploads: kills", rounds)
    figure("SIGKILL to the object store during 8 uploads: uploads acknowledged, all read back", acknowledged)
    figure("SIGKILL to the object store during 8 uploads: uploads answered 503, and no byte left", refused)
