# SPDX-License-Identifier: Apache-2.0
"""Clients that want to occupy the program: it goes on answering the others, and its memory stays bounded."""

import json
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest
from tests.figures import Figure
from tests.overload.crowd import MIB, crowd, dripping, memory, serve_the_good
from tests.processes import Server, receive_all, wait_until

REQUEST_TIMEOUT = 3
"""Seconds; short, so that the tests see what happens then."""

GET = b"GET /images/%s HTTP/1.1\r\nhost: localhost\r\n\r\n"
SLOW_HEAD = b"GET /images HTTP/1.1\r\nhost: localhost\r\nx-slow: "
SLOW_BODY = b"POST /images HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10000\r\n\r\n{"

# The long form is for the nightly run.
rounds = pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.nightly)])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("overload"), "sqlite:///r.sqlite") as server:
        yield server


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It lets a request take a few seconds to come, and serves few at once."""
    folder = tmp_path_factory.mktemp("impatient")
    (folder / "r.conf").write_text(f"[limits]\nrequest_timeout = {REQUEST_TIMEOUT}\nconnections = 600\n")
    with Server(folder, "sqlite:///r.sqlite", "--config-file", "r.conf") as server:
        yield server


@pytest.fixture
def image_id(server: Server) -> str:
    return str(server.add()["id"])


@rounds
def test_two_thousand_idle_connections_keep_nobody_out(
    server: Server, image_id: str, figure: Figure, times: int
) -> None:
    alone = serve_the_good(server, image_id, 200 * times)
    before = memory(server)

    with crowd(server, 2000) as idle:
        crowded = serve_the_good(server, image_id, 200 * times)
        grown = memory(server) - before
        assert len(idle) == 2000

    assert grown < 100 * MIB
    figure("overload: a GET, without anybody else", alone)
    figure("overload: a GET, beside 2,000 idle connections", crowded)
    figure("overload: memory for 2,000 idle connections, MiB", grown // MIB)


@rounds
def test_clients_that_send_a_byte_a_second_are_cut_and_keep_nobody_out(
    impatient: Server, figure: Figure, times: int
) -> None:
    image_id = impatient.add()["id"]
    before = memory(impatient)
    grown = 0

    for _ in range(1 if times == 1 else 3):
        with crowd(impatient, 500) as slow:
            for number, connection in enumerate(slow):
                connection.sendall(SLOW_BODY if number % 2 else SLOW_HEAD)
            with dripping(slow, b" "):
                crowded = serve_the_good(impatient, image_id, 200)
                grown = max(grown, memory(impatient) - before)
                ends = [_read_to_the_end(connection) for connection in slow]

        assert {end.partition(b"\r\n")[0] for end in ends[1::2]} <= {b"HTTP/1.1 408 Request Timeout", b""}
        assert any(b"The body did not come within" in end for end in ends)
        assert set(ends[::2]) == {b""}
    assert grown < 100 * MIB
    figure("overload: a GET, beside 500 clients that send a byte a second", crowded)
    figure("overload: memory for 500 clients that send a byte a second, MiB", grown // MIB)


def _read_to_the_end(connection: socket.socket) -> bytes:
    """What the server said before it closed the connection; what it had not read then may cost its last words."""
    try:
        return receive_all(connection)
    except ConnectionError:
        return b""


def test_what_does_not_come_in_time_is_cut_off(impatient: Server) -> None:
    """Whoever had a request begun is told so; who only kept a connection is not."""
    with crowd(impatient, 3) as (idle, answered, slow):
        answered.sendall(GET % b"none")
        slow.sendall(SLOW_BODY)

        assert receive_all(idle) == b""
        assert receive_all(answered).count(b"HTTP/1.1 404 ") == 1
        head, _, body = receive_all(slow).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head.lower()
    assert body == f"The body did not come within {REQUEST_TIMEOUT} seconds.\n".encode()


def test_who_comes_when_all_places_are_taken_waits_until_one_is_free(impatient: Server) -> None:
    with crowd(impatient, 650), impatient.connect() as last:
        last.sendall(GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") % b"none")

        assert receive_all(last).startswith(b"HTTP/1.1 404 ")


BOMBS = {
    "long": (b"x-bomb: " + b"a" * MIB, 1),
    "endless": (b"x-bomb: " + b"a" * 65_000 + b"\r\n", 100),
    "many": (b"x: y\r\n" * 10_000 + b"\r\n", 1),
    "path": (b"x-bomb: \r\n", 1),
}


@rounds
@pytest.mark.parametrize("bomb", BOMBS)
def test_header_bombs_are_refused(server: Server, image_id: str, figure: Figure, bomb: str, times: int) -> None:
    part, parts = BOMBS[bomb]
    line = b"GET /" + b"x" * MIB * 2 if bomb == "path" else b"GET /images HTTP/1.1\r\n"
    before = memory(server)

    with crowd(server, 25 * times) as clients:
        for connection in clients:
            try:
                connection.sendall(line)
                for _ in range(parts):
                    connection.sendall(part)
            except ConnectionError:
                pass
        grown = memory(server) - before
        crowded = serve_the_good(server, image_id, 50)
        ends = [_read_to_the_end(connection)[:13] for connection in clients]

    assert set(ends) <= {b"HTTP/1.1 431 ", b"HTTP/1.1 414 ", b"HTTP/1.1 400 ", b""}
    assert grown < 50 * MIB
    figure(f"overload: a GET, after header bombs ({bomb})", crowded)
    figure(f"overload: memory for {25 * times} header bombs ({bomb}), MiB", grown // MIB)


@rounds
def test_ten_thousand_requests_in_a_pipeline_are_answered_between_those_of_others(
    server: Server, image_id: str, figure: Figure, times: int
) -> None:
    count = 10_000 * (1 if times == 1 else 5)
    before = memory(server)

    with server.connect() as connection:
        requests = (GET % image_id.encode()) * (count - 1) + GET.replace(
            b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"
        ) % image_id.encode()
        sender = threading.Thread(target=connection.sendall, args=(requests,))
        sender.start()
        answers: list[bytes] = []
        reader = threading.Thread(target=lambda: answers.append(receive_all(connection)))
        reader.start()
        crowded = serve_the_good(server, image_id, 100)
        grown = memory(server) - before
        sender.join()
        reader.join()

    assert answers[0].count(b"HTTP/1.1 200 OK\r\n") == count
    assert grown < 50 * MIB
    figure(f"overload: a GET, beside {count:,} requests in a pipeline", crowded)


def test_a_pipeline_whose_answers_nobody_reads_stops_being_read(server: Server, image_id: str) -> None:
    before = memory(server)

    with server.connect() as connection:
        connection.settimeout(1)
        with pytest.raises(TimeoutError):
            connection.sendall((GET % image_id.encode()) * 1_000_000)
        serve_the_good(server, image_id, 20)
        assert memory(server) - before < 50 * MIB


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has a time limit for what is not read")
def test_who_does_not_read_its_answer_is_cut_off(impatient: Server) -> None:
    """The system alone can tell, and alone would let go of what was to be sent."""
    image_id = impatient.add(properties={str(number): "v" * 255 for number in range(128)})["id"]

    with crowd(impatient, 8) as clients:
        for connection in clients:
            connection.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    connection.send((GET % image_id.encode()) * 1000)
        assert _connections(impatient) >= 8
        wait_until(lambda: _connections(impatient) == 0)


def _connections(server: Server) -> int:
    workers = psutil.Process(server.process.pid).children()
    found = [place for worker in workers for place in worker.net_connections("tcp")]
    return sum(place.status == psutil.CONN_ESTABLISHED and place.laddr.port == server.port for place in found)


@rounds
def test_clients_that_vanish_in_the_middle_of_an_answer_leave_nothing(
    server: Server, image_id: str, figure: Figure, times: int
) -> None:
    for _ in range(25):
        server.add(properties={str(number): "v" * 255 for number in range(128)})
    whole = server.http.get("/images/detail").content
    before = memory(server)

    for _ in range(10 * times):
        with crowd(server, 20) as clients:
            for connection in clients:
                connection.sendall(b"GET /images/detail HTTP/1.1\r\nhost: localhost\r\n\r\n")
            for connection in clients:
                assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    crowded = serve_the_good(server, image_id, 100)
    grown = memory(server) - before

    assert len(whole) > 500_000
    assert json.loads(server.http.get("/images/detail").content) == json.loads(whole)
    assert grown < 100 * MIB
    wait_until(server.is_listening)
    figure("overload: a GET, after clients that vanished", crowded)
    figure(f"overload: memory after {200 * times} clients that vanished, MiB", grown // MIB)
