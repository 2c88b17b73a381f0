# SPDX-License-Identifier: Apache-2.0
"""What monitoring sees of uploads, downloads, the reaper and the stores."""

import asyncio
import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.api.test_health import Samples, scrape
from tests.api.v2.test_v2_file import DATA, create, download, upload
from tests.conftest import Client
from tests.options import make_settings

from glance_registry.api import metrics
from glance_registry.api.metrics import Metrics
from glance_registry.transfer.counts import DOWNLOAD, UPLOAD


@pytest.fixture
def watched(sqlite_database: str) -> Iterator[Client]:
    """Each look at the clock is a second later, so no scrape gets an old text."""
    client = Client(make_settings(sqlite_database), clock=itertools.count(step=metrics.RENDER_EVERY).__next__)
    yield client
    client.close()


def moved(client: Client) -> Samples:
    return scrape(client).get("glance_registry_transfer_bytes_total", {})


def test_bytes_are_counted_by_store_in_both_directions(watched: Client) -> None:
    image_id = create(watched)
    upload(watched, image_id)
    download(watched, image_id)
    download(watched, image_id, range="bytes=0-99")

    assert moved(watched) == {(UPLOAD, "local"): len(DATA), (DOWNLOAD, "local"): len(DATA) + 100}


def test_a_head_moves_no_bytes(watched: Client) -> None:
    image_id = create(watched)
    upload(watched, image_id)
    watched.request("HEAD", f"/v2/images/{image_id}/file")

    assert (DOWNLOAD, "local") not in moved(watched)


def test_a_transfer_that_has_ended_is_not_under_way(watched: Client) -> None:
    image_id = create(watched)
    upload(watched, image_id)
    upload(watched, image_id)
    download(watched, image_id)

    assert scrape(watched)["glance_registry_transfers"] == {(UPLOAD,): 0, (DOWNLOAD,): 0}


def test_uploads_that_are_refused_are_counted_by_reason(watched: Client) -> None:
    image_id = create(watched, disk_format="qcow2")
    assert upload(watched, image_id).status_code == 415
    upload(watched, image_id, x_image_meta_store="none")
    upload(watched, "00000000-0000-4000-8000-000000000000")

    failed = scrape(watched)["glance_registry_failed_uploads_total"]
    assert failed == {("format-refused",): 1, ("invalid",): 1, ("not-found",): 1}


def test_the_work_of_the_reaper_is_counted(watched: Client) -> None:
    image_id = create(watched)
    upload(watched, image_id)
    assert scrape(watched)["glance_registry_reaped_total"][("objects removed",)] == 0

    watched.delete(f"/v2/images/{image_id}")
    watched.sweep()

    assert scrape(watched)["glance_registry_reaped_total"][("objects removed",)] == 1
    assert scrape(watched)["glance_registry_reaper_failures_total"] == {(): 0}


def test_what_the_reaper_cannot_do_is_counted(watched: Client) -> None:
    image_id = create(watched)
    upload(watched, image_id)
    folder = watched.stores / "local"
    watched.delete(f"/v2/images/{image_id}")
    folder.rename(folder.with_name("away"))
    folder.write_text("no folder")
    watched.sweep()

    assert scrape(watched)["glance_registry_reaper_failures_total"] == {(): 1}


def test_the_free_room_of_a_store_is_shown(watched: Client) -> None:
    found = scrape(watched)["glance_registry_store_free_bytes"]

    room = os.statvfs(watched.stores)
    assert found.keys() == {("local",)}
    assert 0 < found["local",] <= room.f_blocks * room.f_frsize


def test_scrapes_share_one_look_at_the_stores_and_do_not_wait_long_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "STORE_SECONDS", 0)
    looks = 0

    async def conversation() -> bytes:
        answered = asyncio.Event()

        async def free() -> Mapping[str, int]:
            nonlocal looks
            looks += 1
            await answered.wait()  # A disk that hangs.
            return {"local": 7}

        counters = Metrics(clock=lambda: 100.0)
        for _ in range(3):
            await counters.look_at_stores(free)
        assert b"store_free_bytes{" not in counters.render()
        answered.set()
        monkeypatch.setattr(metrics, "STORE_SECONDS", 10)
        await counters.look_at_stores(free)
        await counters.look_at_stores(free)
        return counters.render()

    text = asyncio.run(conversation())

    assert looks == 1
    assert b'glance_registry_store_free_bytes{store="local"} 7.0' in text


def test_a_worker_that_was_killed_has_no_transfers_under_way(tmp_path: Path) -> None:
    dead, alive = tmp_path / "gauge_livesum_4999999.db", tmp_path / f"gauge_livesum_{os.getppid()}.db"
    for file in (dead, alive):
        file.write_bytes(b"")

    assert metrics._have_files(str(tmp_path))

    assert not dead.exists()
    assert alive.exists()
