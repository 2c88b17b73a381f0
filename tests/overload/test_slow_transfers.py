# SPDX-License-Identifier: Apache-2.0
"""Many clients that take or send the bytes of images as slowly as they may, and a good one beside them."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.figures import Figure
from tests.overload.crowd import MIB, crowd, dripping, memory, serve_the_good
from tests.processes import Server, wait_until
from tests.test_serve_transfers import DOWNLOAD, LARGE, add_large, create, status

UPLOAD = (
    b"PUT /v2/images/%b/file HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/octet-stream\r\n"
    b"content-length: 1000000\r\n\r\n"
)
MEMORY = 3 * MIB
"""What one slow transfer may take at most: a few chunks here, and what the server and the system keep."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, "sqlite:///registry.sqlite", "--workers", "2") as server:
        yield server


@pytest.mark.parametrize(
    ("count", "requests"), [(20, 100), pytest.param(100, 2_000, marks=pytest.mark.nightly)], ids=["few", "many"]
)
def test_slow_uploads_and_downloads_do_not_exclude_others(
    server: Server, figure: Figure, count: int, requests: int
) -> None:
    """Each takes, or sends, a byte a second."""
    large = add_large(server)
    queued = [create(server) for _ in range(count)]
    alone = serve_the_good(server, large, requests)
    before = memory(server)

    with crowd(server, 2 * count) as clients:
        downloading, uploading = clients[:count], clients[count:]
        for client in downloading:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.sendall(DOWNLOAD % large.encode())
            assert client.recv(1) == b"H"
        for client, image_id in zip(uploading, queued, strict=True):
            client.sendall(UPLOAD % image_id.encode())
        wait_until(lambda: {status(server, image_id) for image_id in queued} == {"saving"})
        with dripping(uploading, b"x"):
            beside = serve_the_good(server, large, requests)
            for client in downloading:
                assert client.recv(1)
        grown = memory(server) - before
        assert {status(server, image_id) for image_id in queued} == {"saving"}

    assert grown < 2 * count * MEMORY
    wait_until(lambda: {status(server, image_id) for image_id in queued} == {"queued"})
    figure("slow transfers: a GET alone", alone)
    figure(f"slow transfers: a GET beside {count} uploads and {count} downloads of a byte a second", beside)
    figure(f"slow transfers: memory for {2 * count} of them, images of {LARGE // MIB} MiB, MiB", grown // MIB)
