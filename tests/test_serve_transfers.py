# SPDX-License-Identifier: Apache-2.0
"""Uploads and downloads of the running program, when it is told to stop and when their clients go."""

import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.overload.crowd import crowd
from tests.processes import SECONDS, Server, run_program, wait_until

pytestmark = pytest.mark.external

FOLDER = "glance-registry-images"

LARGE = 64 * 1_048_576
"""Bytes: more than the system and the server take for a client that reads nothing."""

UPLOAD = (
    b"PUT /v2/images/%b/file HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/octet-stream\r\n"
    b"content-length: 10000000\r\n\r\n" + b"part" * 500_000
)
DOWNLOAD = b"GET /v2/images/%b/file HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"


def create(server: Server) -> str:
    body = {"name": "image", "disk_format": "raw", "container_format": "bare"}
    image_id: str = server.http.post("/v2/images", json=body).json()["id"]
    return image_id


def status(server: Server, image_id: str) -> str:
    found: str = server.http.get(f"/v2/images/{image_id}").json()["status"]
    return found


def add_large(server: Server) -> str:
    image_id = create(server)
    headers = {"content-type": "application/octet-stream"}
    answer = server.http.put(f"/v2/images/{image_id}/file", content=bytes(LARGE), headers=headers)
    assert answer.status_code == 204, answer.text
    return image_id


def files(folder: Path) -> int:
    return sum(path.is_file() for path in (folder / FOLDER).rglob("*"))


def open_objects(server: Server) -> list[str]:
    """The files of images that the program's workers have open."""
    workers = psutil.Process(server.process.pid).children()
    paths = [file.path for worker in workers for file in worker.open_files()]
    return [path for path in paths if FOLDER in path]


def bytes_read(server: Server) -> int:
    return sum(worker.io_counters().read_chars for worker in psutil.Process(server.process.pid).children())


def receive_rest(client: socket.socket) -> bytes:
    """What has come until the connection was closed or reset."""
    received = bytearray()
    with suppress(ConnectionResetError):
        while chunk := client.recv(1_048_576):
            received += chunk
    return bytes(received)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, "sqlite:///registry.sqlite", "--workers", "2") as server:
        yield server


def test_sigterm_cuts_uploads_and_downloads_that_do_not_end(server: Server, tmp_path: Path) -> None:
    large, queued = add_large(server), [create(server) for _ in range(4)]

    with crowd(server, 8) as clients:
        for client, image_id in zip(clients, [*queued, *[large] * 4], strict=True):
            client.sendall((UPLOAD if image_id in queued else DOWNLOAD) % image_id.encode())
        wait_until(lambda: {status(server, image_id) for image_id in queued} == {"saving"})
        wait_until(lambda: len(open_objects(server)) == 8)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(SECONDS) == 0
        answers = [receive_rest(client) for client in clients]

    assert {answer.partition(b"\r\n")[0] for answer in answers[:4]} == {b"HTTP/1.1 503 Service Unavailable"}
    assert all(b"The registry is shutting down." in answer for answer in answers[:4])
    assert all(len(answer) < LARGE for answer in answers[4:])
    assert "Traceback" not in server.output
    with Server(tmp_path, "sqlite:///registry.sqlite") as again:
        assert {status(again, image_id) for image_id in queued} == {"queued"}
        # What was written of them is removed when the program starts.
        wait_until(lambda: files(tmp_path) == 1)
        checked = run_program(tmp_path, "store", "check", "--deep", "--database", "sqlite:///registry.sqlite")
    assert checked.returncode == 0, checked.stdout


def test_transfers_that_end_soon_end_as_if_nothing_had_happened(server: Server) -> None:
    large, queued = add_large(server), create(server)

    with crowd(server, 2) as (uploading, downloading):
        uploading.sendall(UPLOAD % queued.encode())
        downloading.sendall(DOWNLOAD % large.encode())
        wait_until(lambda: len(open_objects(server)) == 2)
        server.process.send_signal(signal.SIGTERM)
        uploading.sendall(b"part" * 2_000_000)
        answers = [uploading.recv(65_536), receive_rest(downloading)]
        assert server.process.wait(SECONDS) == 0

    assert answers[0].startswith(b"HTTP/1.1 204 No Content")
    assert len(answers[1].partition(b"\r\n\r\n")[2]) == LARGE


@pytest.mark.parametrize("reset", [True, False])
def test_a_client_that_goes_in_the_middle_of_a_download_leaves_no_open_file(server: Server, reset: bool) -> None:
    large = add_large(server)
    before = bytes_read(server)

    with crowd(server, 20) as clients:
        for client in clients:
            client.sendall(DOWNLOAD % large.encode())
            assert client.recv(1_000).startswith(b"HTTP/1.1 200 OK")
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_until(lambda: len(open_objects(server)) == 20)

    wait_until(lambda: open_objects(server) == [])
    # All of it would be 20 times.
    assert bytes_read(server) - before < 18 * LARGE, "it goes on to read what nobody gets"
    assert "ASGI transport error" not in server.output


def test_a_client_that_goes_in_the_middle_of_an_upload_leaves_the_image_queued(server: Server, tmp_path: Path) -> None:
    queued = [create(server) for _ in range(10)]

    with crowd(server, 10) as clients:
        for client, image_id in zip(clients, queued, strict=True):
            client.sendall(UPLOAD % image_id.encode())
        wait_until(lambda: {status(server, image_id) for image_id in queued} == {"saving"})

    wait_until(lambda: {status(server, image_id) for image_id in queued} == {"queued"})
    wait_until(lambda: files(tmp_path) == 0)
