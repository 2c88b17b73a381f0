# SPDX-License-Identifier: Apache-2.0
"""The program as a process: it starts, or says in one line why not; it answers; it stops without losing anything."""

import http.client
import json
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.parser import text_string_to_metric_families

from tests.catalogue.examples import upgrade
from tests.conftest import PostgreSQL
from tests.processes import SECONDS, Server, free_port, receive_all, run_program, wait_until

pytestmark = pytest.mark.external

BODY = json.dumps({"image": {"disk_format": "raw", "container_format": "bare", "is_public": True}}).encode()

HEAD = b"POST /images HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(BODY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """One program for the tests that leave it as it was."""
    with Server(folder, "sqlite:///shared.sqlite") as server:
        yield server


def assert_refusal(ended: object, *words: str) -> None:
    """It ended with status 1 and one line that says why."""
    assert ended.returncode == 1, ended  # type: ignore[attr-defined]
    assert ended.stdout == ""  # type: ignore[attr-defined]
    (line,) = ended.stderr.splitlines()  # type: ignore[attr-defined]
    assert line.startswith("Error: ")
    for word in words:
        assert word in line


def test_it_starts_on_a_new_sqlite_file_answers_and_stops(tmp_path: Path) -> None:
    with Server(tmp_path, "sqlite:///new.sqlite") as server:
        image = server.add(name="natty ä", properties={"a": "1"})
        shown = server.http.get(f"/images/{image['id']}")
        head = server.http.head(f"/images/{image['id']}")

        assert server.http.get("/healthcheck").text == "OK\n"
        assert shown.json() == {"image": image}
        assert (tmp_path / "new.sqlite").stat().st_mode & 0o777 == 0o600
        assert head.headers["x-image-meta-property-a"] == "1"
        assert head.content == b""
        assert server.stop() == 0
    with Server(tmp_path, "sqlite:///new.sqlite") as again:
        assert again.http.get(f"/images/{image['id']}").json() == {"image": image}


def test_without_a_command_it_serves(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "r.conf").write_text("[DEFAULT]\nbind_host = 0.0.0.0\n")

    assert_refusal(run_program(tmp_path, "--config-file", "r.conf", "--port", str(port)), "Refusing to listen")


def test_a_second_program_on_the_same_port_ends_at_once_and_says_why(tmp_path: Path, server: Server) -> None:
    ended = run_program(tmp_path, "serve", "--port", str(server.port), "--database", "sqlite:///other.sqlite")

    assert_refusal(ended, f"Port {server.port}", "in use", "--port")
    assert server.is_listening()
    assert not (tmp_path / "other.sqlite").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_it_refuses_to_be_open_to_everybody(tmp_path: Path, host: str) -> None:
    ended = run_program(tmp_path, "serve", "--host", host, "--port", str(free_port()))

    assert_refusal(ended, "Refusing to listen on " + host, "--insecure-no-auth")
    assert list(tmp_path.iterdir()) == []


def test_it_is_open_to_everybody_when_that_is_accepted(tmp_path: Path) -> None:
    with Server(tmp_path, "sqlite:///open.sqlite", "--host", "0.0.0.0", "--insecure-no-auth") as server:
        assert server.http.get("/images").json() == {"images": []}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--host", "192.0.2.1", "--insecure-no-auth"], "Cannot listen on 192.0.2.1"),
        (["--database", "mysql://u:s3cret@h/d"], "'mysql'"),
        (["--database", "sqlite:////no/such/folder/r.sqlite"], "cannot be opened"),
        (["--database", "postgresql://u:s3cret@127.0.0.1:{port}/d"], "does not answer"),
        (["--port", "70000"], "65535"),
        (["--config-file", "none.conf"], "none.conf"),
    ],
)
def test_what_it_cannot_use_is_told_in_one_line(tmp_path: Path, arguments: list[str], word: str) -> None:
    given = [argument.format(port=free_port()) for argument in arguments]

    ended = run_program(tmp_path, "serve", "--port", str(free_port()), *given)

    assert_refusal(ended, word)
    assert "s3cret" not in ended.stdout + ended.stderr


def test_sigterm_lets_a_request_finish_whose_body_is_still_coming(tmp_path: Path) -> None:
    with Server(tmp_path, "sqlite:///slow.sqlite") as server:
        with server.connect() as connection:
            connection.sendall(HEAD + BODY[:20])
            server.http.get("/images")  # By now the first bytes have arrived.
            server.http.close()
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "Shutting down" in server.output or not server.is_listening())
            connection.sendall(BODY[20:])
            answer = receive_all(connection)
        status = server.process.wait(60)

        assert answer.startswith(b"HTTP/1.1 200 ")
        assert status == 0
    image = json.loads(answer.partition(b"\r\n\r\n")[2])["image"]
    with Server(tmp_path, "sqlite:///slow.sqlite") as again:
        assert again.http.get(f"/images/{image['id']}").json() == {"image": image}


def test_sigint_stops_it_too(tmp_path: Path) -> None:
    with Server(tmp_path, "sqlite:///r.sqlite") as server:
        server.add()
        server.process.send_signal(signal.SIGINT)

        assert server.process.wait(60) == 0
        assert "Traceback" not in server.output


@pytest.mark.parametrize("worker", [1, 2])
def test_sigterm_stops_workers_that_are_only_just_starting(tmp_path: Path, worker: int) -> None:
    """Such a signal would be lost, and the worker killed in the end because it did not obey. (Granian may also kill one
    that is already on its way out.)"""
    server = Server(tmp_path, "sqlite:///r.sqlite", "--workers", "2")
    wait_until(lambda: f"Spawning worker-{worker}" in server.output)

    assert server.stop() == 0
    assert server.output.count("Stopping worker-") == server.output.count("Spawning worker-") > 0
    server.http.close()


@pytest.mark.parametrize("step", [None, "0001"])
def test_a_server_s_old_schema_is_refused_until_it_is_upgraded(
    tmp_path: Path, postgresql: PostgreSQL, step: str | None
) -> None:
    url = postgresql.create()
    if step:
        upgrade(url, step)

    refused = run_program(tmp_path, "serve", "--port", str(free_port()), "--database", url)
    checked = run_program(tmp_path, "db", "check", "--database", url)
    upgraded = run_program(tmp_path, "db", "upgrade", "--database", url)

    assert_refusal(refused, "older schema" if step else "no tables", "glance-registry db upgrade")
    assert_refusal(checked, "glance-registry db upgrade")
    assert (upgraded.returncode, upgraded.stderr) == (0, "")
    assert run_program(tmp_path, "db", "check", "--database", url).returncode == 0
    with Server(tmp_path, url) as server:
        image = server.add()
        assert server.http.get(f"/images/{image['id']}").json() == {"image": image}
        assert server.stop() == 0


HOSTILE = [
    b"GET /images/\xff\xfe HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    b"GET /images/%ff%00 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    b"GET /images/%2F..%2F HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    b"GET /images?marker=%00&limit=\xff HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    b"GET /" + b"x" * 60_000 + b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    b"GET /images HTTP/1.1\r\nhost: localhost\r\nx-openstack-request-id: \xff\x01\r\nconnection: close\r\n\r\n",
    b"GET /images HTTP/1.1\r\nhost: localhost\r\nx: " + b"x" * 100_000 + b"\r\nconnection: close\r\n\r\n",
    b"BREW /images HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    b"POST /images HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\nconnection: close\r\n\r\n",
    b"POST /images HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\nZ\r\n",
    b"nonsense\r\n\r\n",
    b"\0" * 100 + b"\r\n\r\n",
]


@pytest.mark.parametrize("sent", HOSTILE, ids=lambda sent: ascii(sent[:30]))
def test_what_no_client_should_send_is_never_a_fault_of_ours(server: Server, sent: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        try:
            answer = receive_all(connection)
        except ConnectionResetError:
            answer = b""

    assert answer == b"" or int(answer.split(b" ", 2)[1]) < 500
    assert server.http.get("/healthcheck").status_code == 200


def test_an_endless_body_is_refused_while_it_comes(server: Server) -> None:
    chunk = b"%x\r\n%s\r\n" % (65_536, b" " * 65_536)
    sent = 0
    with server.connect() as connection:
        connection.sendall(b"POST /images HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        connection.setblocking(False)
        answer = b""
        while not answer and sent < 400:
            try:
                connection.send(chunk)
                sent += 1
            except BlockingIOError:
                wait_until(lambda: _is_ready(connection))
            try:
                answer = connection.recv(4096)
            except BlockingIOError:
                continue

    assert answer.startswith(b"HTTP/1.1 413 ")


def _is_ready(connection: socket.socket) -> bool:
    import select

    readable, writable, _ = select.select([connection], [connection], [], 0)
    return bool(readable or writable)


def test_a_client_that_vanishes_in_the_middle_of_its_body_leaves_nothing(server: Server) -> None:
    before = server.http.get("/images").json()
    with server.connect() as connection:
        connection.sendall(HEAD + BODY[:-5])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert server.http.get("/images").json() == before


@pytest.mark.parametrize("count", [0, 40, 78, 80, 128])
def test_python_s_own_http_client_reads_every_image(server: Server, count: int) -> None:
    fields = {**dict.fromkeys(("name", "checksum", "owner"), " ä "), "location": "file:///ä "}
    image = server.add(**fields, size=1, virtual_size=1, properties={f"p{number}": " x" for number in range(count)})

    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.request("GET", f"/images/{image['id']}")
        answer = connection.getresponse()
        assert json.loads(answer.read()) == {"image": image}


def _requests_by_worker(folder: Path) -> list[float]:
    """What each worker counted, read from the files in which they keep it."""
    counts = []
    for file in sorted(folder.glob("glance-registry-metrics-*/counter_*.db")):
        values = MmapedDict.read_all_values_from_file(str(file))
        counts.append(sum(value for key, value, *_ in values if "glance_registry_requests_total" in key))
    return counts


def _counted(server: Server, path: str) -> float:
    families = text_string_to_metric_families(server.http.get("/metrics").text)
    samples = (sample for family in families for sample in family.samples)
    return sum(s.value for s in samples if s.name.endswith("requests_total") and s.labels["route"] == path)


def test_two_workers_share_one_file_and_count_together(tmp_path: Path) -> None:
    with Server(tmp_path, "sqlite:///two.sqlite", "--workers", "2") as server:
        ids = set()
        while len(ids) < 500 and (len(ids) < 40 or 0 in _requests_by_worker(tmp_path)):
            with socket.create_connection(("127.0.0.1", server.port), 60) as connection:  # Either may answer it.
                head = (
                    b"POST /images HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
                    % len(BODY)
                )
                connection.sendall(head + BODY)
                ids.add(json.loads(receive_all(connection).partition(b"\r\n\r\n")[2])["image"]["id"])
        listed = {image["id"] for image in server.http.get("/images?limit=1000").json()["images"]}

        assert listed == ids
        by_worker = _requests_by_worker(tmp_path)
        assert len(by_worker) == 2
        assert min(by_worker) > 0
        assert [_counted(server, "/images") for _ in range(5)] == [len(ids) + 1] * 5
        assert server.stop() == 0
    assert list(tmp_path.glob("glance-registry-metrics-*")) == []


@pytest.mark.parametrize("command", [["export"], ["db", "check"], ["db", "upgrade"]], ids=" ".join)
def test_a_command_that_comes_and_goes_takes_no_log_from_under_the_program(tmp_path: Path, command: list[str]) -> None:
    """A process that closes a database file gives up its locks on it: then the command would believe itself alone."""
    with Server(tmp_path, "sqlite:///r.sqlite") as server:
        server.add(id="before")
        assert server.http.get("/healthcheck").status_code == 200
        assert run_program(tmp_path, *command, "--database", "sqlite:///r.sqlite").returncode == 0
        server.add(id="after")
        server.kill_all()

    kept = run_program(tmp_path, "export", "--database", "sqlite:///r.sqlite").stdout
    assert {json.loads(line)["id"] for line in kept.splitlines()} == {"before", "after"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the workers as Linux names them")
def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with Server(tmp_path, "sqlite:///two.sqlite", "--workers", "2") as server:
        image = server.add()
        workers = [child for child in psutil.Process(server.process.pid).children() if _serves(child, server.port)]
        workers[0].kill()
        wait_until(lambda: len(_alive(server) - {worker.pid for worker in workers}) > 0)
        wait_until(server.is_listening)

        assert server.http.get(f"/images/{image['id']}").json() == {"image": image}
        assert server.stop() == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a process of its parent's end")
def test_workers_end_when_the_main_process_is_killed(tmp_path: Path) -> None:
    """Else they would keep the port and the database."""
    with Server(tmp_path, "sqlite:///two.sqlite", "--workers", "2") as server:
        image = server.add()

        server.process.kill()
        server.process.wait()

        wait_until(lambda: not server.is_listening())
    with Server(tmp_path, "sqlite:///two.sqlite") as server:
        assert server.http.get(f"/images/{image['id']}").json() == {"image": image}


STOP_WORKERS = """
import os, signal
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGSTOP))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a process of its parent's end")
def test_a_worker_whose_main_process_died_before_it_could_ask_to_be_told_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is stopped as soon as it is made, the main process killed, and then the worker goes on."""
    (tmp_path / "sitecustomize.py").write_text(STOP_WORKERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    server = Server(tmp_path, "sqlite:///r.sqlite")
    main = psutil.Process(server.process.pid)
    wait_until(lambda: [child.status() for child in main.children()] == [psutil.STATUS_STOPPED])
    (worker,) = main.children()
    server.process.kill()
    server.process.wait()

    worker.resume()

    gone, _ = psutil.wait_procs([worker], timeout=SECONDS)
    assert gone == [worker]
    assert not server.is_listening()
    assert "the main process is gone" in server.output
    server.http.close()


def test_a_start_removes_the_counters_of_programs_that_were_killed_and_of_no_others(tmp_path: Path) -> None:
    def folders() -> set[Path]:
        return set(tmp_path.glob("glance-registry-metrics-*"))

    of_an_older_release = tmp_path / "glance-registry-metrics-x1y2z3"
    of_an_older_release.mkdir()
    with Server(tmp_path, "sqlite:///a.sqlite", "--workers", "2") as killed:
        killed.kill_all()
    (left,) = folders() - {of_an_older_release}
    with Server(tmp_path, "sqlite:///b.sqlite", "--workers", "2") as first:
        (of_first,) = folders() - {of_an_older_release}
        assert of_first != left
        with Server(tmp_path, "sqlite:///c.sqlite", "--workers", "2") as second:
            assert len(folders()) == 3
            assert _counted(first, "/versions") > 0
            assert second.stop() == 0
        assert folders() == {of_an_older_release, of_first}
        assert first.stop() == 0
    assert folders() == {of_an_older_release}


def _serves(process: psutil.Process, port: int) -> bool:
    return any(place.laddr.port == port for place in process.net_connections("tcp") if place.laddr)


def _alive(server: Server) -> set[int]:
    children = psutil.Process(server.process.pid).children()
    return {child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /images HTTP/1.1\r\nhost: localhost\r\n", 200),
        (b"GET /images HTTP/1.1\r\nhost: [::1]:9191\r\n", 200),
        (b"GET /images HTTP/1.1\r\nhost: evil.example\r\n", 421),
        (b"GET http://evil.example/images HTTP/1.1\r\nhost: evil.example\r\n", 421),
        (b"GET http://evil.example/images HTTP/1.1\r\n", 421),
        (b"GET /images HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n", 400),
        (b"GET /images HTTP/1.1\r\n", 400),
        (b"GET /images HTTP/1.1\r\nhost:\r\n", 400),
        # Programs that watch a port send this; no browser does.
        (b"GET /images HTTP/1.0\r\n", 200),
        (b"GET /images HTTP/1.0\r\nhost: evil.example\r\n", 421),
    ],
)
def test_over_a_socket_only_names_of_loopback_are_served(server: Server, head: bytes, status: int) -> None:
    with server.connect() as connection:
        connection.sendall(head + b"connection: close\r\n\r\n")
        answer = receive_all(connection)

    assert int(answer.split(b" ", 2)[1]) == status
