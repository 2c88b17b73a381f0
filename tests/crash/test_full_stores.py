# SPDX-License-Identifier: Apache-2.0
"""A disk that is full, or takes no more, in the middle of uploads: 413, the image is queued, nothing is left."""

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.crash.test_disks import fill, limit_files
from tests.processes import Server, run_program, wait_until
from tests.test_serve_transfers import FOLDER, create, files, status

MIB = 1_048_576
FULL = "Store 'local' has no room left for these bytes."


def upload(server: Server, image_id: str, data: bytes) -> httpx.Response:
    """Over a connection of its own, so that either worker may answer."""
    url = f"http://127.0.0.1:{server.port}/v2/images/{image_id}/file"
    return httpx.put(url, content=data, headers={"content-type": "application/octet-stream"}, timeout=60)


def assert_refused(server: Server, folder: Path, data: bytes) -> None:
    before = files(folder)
    queued = [create(server) for _ in range(4)]
    answers = [upload(server, image_id, data) for image_id in queued]

    assert {answer.status_code for answer in answers} == {413}
    assert all(FULL in answer.text for answer in answers)
    assert {status(server, image_id) for image_id in queued} == {"queued"}
    wait_until(lambda: files(folder) == before)


def assert_sound(folder: Path) -> None:
    checked = run_program(folder, "store", "check", "--deep", "--database", "sqlite:///registry.sqlite")
    assert checked.returncode == 0, checked.stdout


def test_files_that_may_not_grow_refuse_uploads_and_downloads_go_on(tmp_path: Path) -> None:
    """As on a disk without room: the system refuses to write beyond a size."""
    with Server(tmp_path, "sqlite:///registry.sqlite", "--workers", "2") as server:
        active, data = create(server), os.urandom(3 * MIB)
        assert upload(server, active, data).status_code == 204
        limit_files(server, 2 * MIB)

        assert_refused(server, tmp_path, os.urandom(3 * MIB))

        assert server.http.get(f"/v2/images/{active}/file").content == data
        limit_files(server, resource.RLIM_INFINITY)
        assert upload(server, create(server), os.urandom(3 * MIB)).status_code == 204
    assert_sound(tmp_path)


@pytest.fixture
def small_store(tmp_path: Path) -> Iterator[Path]:
    """The folder of the stores, on a file system of 16 MiB. It takes the right to mount."""
    disk = tmp_path / FOLDER
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.nightly
@pytest.mark.parametrize("reserve", [0, 4])
def test_a_full_disk_refuses_uploads_until_there_is_room(small_store: Path, tmp_path: Path, reserve: int) -> None:
    (tmp_path / "r.conf").write_text(f"[stores]\nreserve_free = {reserve}\n")
    with Server(tmp_path, "sqlite:///registry.sqlite", "--workers", "2", "--config-file", "r.conf") as server:
        active, data = create(server), os.urandom(2 * MIB)
        assert upload(server, active, data).status_code == 204
        if not reserve:
            fill(small_store / "filler")

        assert_refused(server, tmp_path, os.urandom(20 * MIB))

        assert server.http.get(f"/v2/images/{active}/file").content == data
        free = os.statvfs(small_store)
        assert not reserve or free.f_bavail * free.f_frsize >= reserve * MIB
        (small_store / "filler").unlink(missing_ok=True)
        assert upload(server, create(server), os.urandom(2 * MIB)).status_code == 204
    assert_sound(tmp_path)
