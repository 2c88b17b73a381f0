# SPDX-License-Identifier: Apache-2.0
"""A disk that is full, fails or may not be written: writes say so, reads go on, and writes work again afterwards."""

import resource
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import Connection
from tests.conftest import Client
from tests.crash.test_crash import everything
from tests.crash.writers import FORMATS, Writer
from tests.figures import Figure
from tests.processes import PROGRAM, SECONDS, Server, free_port, obey_modes, run_program, wait_until

LARGE = {"p": "x" * 60_000}


def add(server: Server, image_id: str, **properties: str) -> httpx.Response:
    """Over a connection of its own, so that either worker may answer."""
    body = {"image": {"id": image_id, "properties": properties, **FORMATS}}
    return httpx.post(f"http://127.0.0.1:{server.port}/images", json=body, timeout=60)


def shows(server: Server, image_id: str) -> int:
    return httpx.get(f"http://127.0.0.1:{server.port}/images/{image_id}", timeout=60).status_code


def assert_sound(folder: Path, url: str) -> None:
    checked = run_program(folder, "db", "check", "--database", url)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def limit_pages(connection: Connection, pages: int) -> None:
    connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").close()


def test_a_full_database_is_507_with_a_sentence_and_reads_go_on(sqlite_client: Client, tmp_path: Path) -> None:
    kept = sqlite_client.add(id="one")
    sqlite_client.operate(limit_pages, 1)

    answers = [
        sqlite_client.post("/images", {"image": {"id": "two", "properties": LARGE, **FORMATS}}),
        sqlite_client.put("/images/one", {"image": {"properties": LARGE}}),
    ]

    assert [answer.status_code for answer in answers] == [507, 507]
    assert {answer.text for answer in answers} == {"The database has no room left; free some and try again.\n"}
    assert sqlite_client.show("one") == kept
    unhealthy = sqlite_client.get("/healthcheck")
    assert (unhealthy.status_code, unhealthy.text) == (503, "The database has no room left; free some and try again.\n")
    sqlite_client.operate(limit_pages, 1_000_000)
    assert sqlite_client.get("/healthcheck").status_code == 200
    assert sqlite_client.add(id="two", properties=LARGE)["properties"] == LARGE
    assert_sound(tmp_path, f"sqlite:///{tmp_path / 'registry.sqlite'}")


def limit_files(server: Server, size: int) -> None:
    """No process of the program may write beyond so many bytes of a file: it is refused as by a failing disk."""
    for process in psutil.Process(server.process.pid).children(recursive=True):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_disk_that_takes_no_writes_is_503_with_a_sentence_and_reads_go_on(tmp_path: Path) -> None:
    url = "sqlite:///registry.sqlite"
    with Server(tmp_path, url, "--workers", "2") as server:
        assert add(server, "one").status_code == 200
        limit_files(server, 0)

        refused = [add(server, "two", **LARGE) for _ in range(8)]

        assert {(answer.status_code, answer.text) for answer in refused} == {
            (503, "The database file cannot be used.\n")
        }
        assert [shows(server, "one") for _ in range(8)] == [200] * 8
        limit_files(server, resource.RLIM_INFINITY)
        assert add(server, "two", **LARGE).status_code == 200
    assert_sound(tmp_path, url)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A database with the image `one`, which may only be read."""
    file = tmp_path / "registry.sqlite"
    with Server(tmp_path, f"sqlite:///{file}") as server:
        add(server, "one")
        server.stop()
    file.chmod(0o400)
    yield file
    tmp_path.chmod(0o700)


def test_a_file_that_may_only_be_read_is_served_and_writes_are_503_until_it_may_be_written(file: Path) -> None:
    with Server(file.parent, f"sqlite:///{file}", "--workers", "2", preexec_fn=obey_modes) as server:
        refused = [add(server, "two") for _ in range(8)]

        assert {(answer.status_code, answer.text) for answer in refused} == {(503, "The database is read-only.\n")}
        assert refused[0].headers["retry-after"] == "1"
        assert [shows(server, "one") for _ in range(8)] == [200] * 8
        file.chmod(0o600)
        assert [add(server, f"later{number}").status_code for number in range(8)] == [200] * 8
    assert_sound(file.parent, f"sqlite:///{file}")


def test_a_worker_that_is_replaced_over_a_file_that_may_only_be_read_serves_it(file: Path) -> None:
    file.chmod(0o600)
    with Server(file.parent, f"sqlite:///{file}", "--workers", "2", preexec_fn=obey_modes) as server:
        assert add(server, "two").status_code == 200
        file.chmod(0o400)
        for worker in psutil.Process(server.process.pid).children():
            worker.kill()
        wait_until(server.is_listening)

        assert add(server, "three").text == "The database is read-only.\n"

        assert [shows(server, "two") for _ in range(8)] == [200] * 8


def test_a_folder_in_which_no_file_can_be_made_is_told_at_the_start(file: Path) -> None:
    file.parent.chmod(0o500)
    url = f"sqlite:///{file}"
    command = [*PROGRAM, "serve", "--port", str(free_port()), "--database", url]

    ended = subprocess.run(command, preexec_fn=obey_modes, capture_output=True, text=True, timeout=SECONDS, check=False)

    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("Error: The folder of the database is read-only. (sqlite:///")
    assert line.endswith("OperationalError: attempt to write a readonly database (SQLITE_READONLY_DIRECTORY))")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB, mounted. It takes the right to mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as stream:
        try:
            while stream.write(b"x" * 4096):
                pass
        except OSError:
            return


@pytest.mark.nightly
def test_a_full_disk_under_load_loses_nothing_and_is_forgotten_when_there_is_room(
    small_disk: Path, figure: Figure
) -> None:
    """Everything lies on that disk: the database, the log, the workers' counters."""
    url = f"sqlite:///{small_disk / 'registry.sqlite'}"
    writers = [Writer(f"w{number}") for number in range(4)]
    refused = 0

    def write(server: Server, until: Callable[[], bool]) -> None:
        stopped = threading.Event()
        with ThreadPoolExecutor(len(writers)) as threads:
            running = [threads.submit(writer.write_until, stopped, server.port) for writer in writers]
            wait_until(until)
            stopped.set()
        for writing in running:
            writing.result()

    def acknowledged() -> int:
        return sum(writer.acknowledged for writer in writers)

    with Server(small_disk, url, "--workers", "2") as server:
        assert add(server, "one").status_code == 200
        for _ in range(5):
            before = acknowledged()
            write(server, lambda: acknowledged() > before + 50)  # noqa: B023
            fill(small_disk / "filler")
            write(server, lambda: sum(len(writer.unsure) for writer in writers) > 40)
            assert [shows(server, "one") for _ in range(8)] == [200] * 8
            assert add(server, "two", **LARGE).status_code == 507
            refused += sum(len(writer.unsure) for writer in writers)
            (small_disk / "filler").unlink()
            kept = everything(url)
            assert [writer.surprise for writer in writers if writer.surprise] == []
            assert [fault for writer in writers for fault in writer.settle(kept)] == []
        assert add(server, "three", **LARGE).status_code == 200
        assert server.process.poll() is None
    assert_sound(small_disk, url)
    figure("full disk: writes acknowledged around it, all there once", acknowledged())
    figure("full disk: writes refused or unanswered, there wholly or not at all", refused)
