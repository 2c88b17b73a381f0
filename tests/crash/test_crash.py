# SPDX-License-Identifier: Apache-2.0
"""Killed again and again while many write: what was acknowledged is there, once, and the rest wholly or not at all."""

import asyncio
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import make_url
from tests.conftest import PostgreSQL
from tests.crash.writers import Known, Writer
from tests.figures import Figure
from tests.processes import Server, run_program, wait_until

from glance_registry.catalogue import images, schema
from glance_registry.catalogue.integrity import check
from glance_registry.catalogue.open import open_catalogue
from glance_registry.catalogue.snapshot import snapshot

WRITERS = 8
LONGEST_RUN = 1.0
"""Seconds between the first writes of a cycle and the kill, at most."""


def everything(url: str) -> dict[str, Known]:
    """What is kept, deleted images too, read past the program. Fails when an id is there twice."""

    async def read() -> dict[str, Known]:
        catalogue = open_catalogue(url)
        kept = {}
        batch = await catalogue.read(images.after, None, "", 1000)
        while batch:
            for one in batch:
                assert one.image.id not in kept
                kept[one.image.id] = Known.of(one)
            batch = await catalogue.read(images.after, batch[-1].image.created_at, batch[-1].image.id, 1000)
        await catalogue.close()
        return kept

    return asyncio.run(read())


def shown(server: Server) -> set[str]:
    """The ids of all live images, as the program lists them."""
    ids: list[str] = []
    query = {"is_public": "None", "limit": "1000", "sort_key": "id"}
    while page := server.http.get("/images", params={**query, **({"marker": ids[-1]} if ids else {})}).json()["images"]:
        ids += [image["id"] for image in page]
    assert len(set(ids)) == len(ids)
    return set(ids)


class Scene:
    """A server with two workers under many writers."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.writers = [Writer(f"w{number}") for number in range(WRITERS)]
        self.unanswered = 0
        self.slowest_start = 0.0
        self.start()

    def start(self) -> None:
        before = time.monotonic()
        self.server = Server(self.folder, self.url, "--workers", "2").__enter__()
        self.slowest_start = max(self.slowest_start, time.monotonic() - before)

    def restart_after_kill(self) -> None:
        self.server.kill_all()
        self.server.__exit__()
        self.start()

    def write_during(self, disaster: Callable[[], None]) -> None:
        """Write for a random while, until the disaster is over."""
        stopped = threading.Event()
        with ThreadPoolExecutor(WRITERS) as threads:
            running = [threads.submit(writer.write_until, stopped, self.server.port) for writer in self.writers]
            time.sleep(random.uniform(0, LONGEST_RUN))
            disaster()
            stopped.set()
        for writing in running:
            writing.result()
        self.unanswered += sum(len(writer.unsure) for writer in self.writers)

    def verify(self) -> None:
        """Everything is as it was acknowledged, once, and whole."""
        kept = everything(self.url)
        assert [writer.surprise for writer in self.writers if writer.surprise] == []
        assert [fault for writer in self.writers for fault in writer.settle(kept)] == []
        assert kept.keys() == {image_id for writer in self.writers for image_id in writer.known}
        assert shown(self.server) == {image_id for image_id, known in kept.items() if not known.deleted}
        faults: list[check.Fault] = []
        asyncio.run(snapshot(self.url, check.check, faults.append))
        assert faults == []

    def tell(self, figure: Figure, what: str, cycles: int) -> None:
        figure(f"{what}: kills", cycles)
        figure(f"{what}: writes acknowledged, all there once", sum(writer.acknowledged for writer in self.writers))
        figure(f"{what}: writes without an answer, there wholly or not at all", self.unanswered)

    def end(self) -> None:
        self.server.kill_all()
        self.server.__exit__()


@pytest.fixture
def scene(tmp_path: Path, database: str) -> Iterator[Scene]:
    scene = Scene(tmp_path, database)
    yield scene
    scene.end()


@pytest.mark.parametrize("cycles", [5, pytest.param(50, marks=pytest.mark.nightly)])
def test_a_killed_program_has_lost_nothing_and_starts_again(scene: Scene, cycles: int, figure: Figure) -> None:
    for _ in range(cycles):
        scene.write_during(scene.restart_after_kill)
        scene.verify()

    assert sum(writer.acknowledged for writer in scene.writers) > 10 * cycles
    checked = run_program(scene.folder, "db", "check", "--database", scene.url)
    assert checked.returncode == 0, checked.stdout
    what = f"SIGKILL of the program, {make_url(scene.url).get_backend_name()}"
    scene.tell(figure, what, cycles)
    figure(f"{what}: slowest start to the first answer", f"{scene.slowest_start:.2f} s")


@pytest.fixture
def durable() -> Iterator[PostgreSQL]:
    """A PostgreSQL of one's own, to be killed, as careful with the disk as one in production."""
    server = PostgreSQL(Path(tempfile.mkdtemp(prefix="glance-registry-test-")), durable=True)
    yield server
    server.stop()


@pytest.mark.nightly
def test_a_killed_postgresql_has_lost_nothing_and_the_program_goes_on(
    durable: PostgreSQL, tmp_path: Path, figure: Figure
) -> None:
    url = durable.create()
    asyncio.run(schema.upgrade(url))
    scene = Scene(tmp_path, url)

    def kill_and_start() -> None:
        durable.kill()
        durable.start()
        before = sum(writer.acknowledged for writer in scene.writers)
        wait_until(lambda: sum(writer.acknowledged for writer in scene.writers) > before + 2 * WRITERS)

    for _ in range(20):
        scene.write_during(kill_and_start)
        scene.verify()
    scene.end()

    scene.tell(figure, "SIGKILL of PostgreSQL", 20)
