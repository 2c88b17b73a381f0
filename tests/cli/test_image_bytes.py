# SPDX-License-Identifier: Apache-2.0
"""`image upload` and `image download`: over lines that break, and servers that start again."""

import hashlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result
from tests.cli.breaking import breaking_line
from tests.cli.conftest import Invoke
from tests.processes import PROGRAM, Server, environment, free_port, wait_until

from glance_registry.cli import retries

pytestmark = pytest.mark.external

MIB = 1_048_576
PARTIAL = {"content-type": "application/partial-upload", "upload-offset": "0", "upload-complete": "?0"}


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_DELAY_SECONDS", 0.01)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, make_database: Callable[[str], str]) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with Server(folder, make_database("sqlite")) as server:
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(9 * MIB + 5))
    return path


@pytest.fixture
def image(invoke: Invoke, running: Server) -> Callable[..., Result]:
    def run(command: str, *arguments: object, port: int | None = None) -> Result:
        return invoke("image", command, *arguments, "--server", f"http://127.0.0.1:{port or running.port}")

    return run


def sha512(data: bytes) -> str:
    return hashlib.sha512(data).hexdigest()


def queued(server: Server, **fields: Any) -> str:
    body = {"name": "image", "disk_format": "raw", "container_format": "bare", **fields}
    found: str = server.http.post("/v2/images", json=body).json()["id"]
    return found


def stored(server: Server, data: bytes, **fields: Any) -> str:
    image_id = queued(server, **fields)
    headers = {"content-type": "application/octet-stream"}
    assert server.http.put(f"/v2/images/{image_id}/file", content=data, headers=headers).status_code == 204
    return image_id


def uploaded(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_upload_makes_an_active_image_of_a_file(image: Callable[..., Result], running: Server, file: Path) -> None:
    options = "--visibility public --tag a --tag b --min-disk 1 --min-ram 2 --property os_distro=debian"
    found = uploaded(image("upload", file, *options.split(), "--json"))

    assert (found["status"], found["name"], found["visibility"]) == ("active", "disk.img", "public")
    assert (found["disk_format"], found["container_format"], sorted(found["tags"])) == ("raw", "bare", ["a", "b"])
    assert (found["min_disk"], found["min_ram"], found["os_distro"]) == (1, 2, "debian")
    assert found["os_hash_value"] == sha512(file.read_bytes())
    assert running.http.get(f"/v2/images/{found['id']}/file").content == file.read_bytes()


def test_upload_prints_a_table_and_the_id(image: Callable[..., Result], file: Path) -> None:
    result = image("upload", file, "--name", "noble")

    assert result.exit_code == 0, result.stderr
    assert "noble" in result.stdout
    assert result.stderr.startswith("Image ")


def test_upload_guesses_the_format(image: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "disk"
    header = bytearray(b"QFI\xfb" + (3).to_bytes(4, "big") + bytes(504))
    header[20:24], header[24:32], header[100:104] = (16).to_bytes(4, "big"), (5 * MIB).to_bytes(8, "big"), b"\0\0\0\x68"
    path.write_bytes(bytes(header) + bytes(70_000))

    found = uploaded(image("upload", path, "--json"))

    assert (found["disk_format"], found["virtual_size"]) == ("qcow2", 5 * MIB)


def test_upload_of_no_bytes(image: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    assert uploaded(image("upload", tmp_path / "empty", "--disk-format", "raw", "--json"))["size"] == 0


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--disk-format", "qcow2"], 1, "its bytes are raw"),
        (["--disk-format", "floppy"], 1, "disk_format"),
        (["--store", "none"], 1, "There is no store 'none'"),
        (["00000000-0000-4000-8000-000000000000"], 1, "Image not found"),
        (["an-id", "--name", "new"], 2, "These options are for a new image"),
        (["--property", "nothing"], 2, "is not NAME=VALUE"),
    ],
)
def test_upload_that_is_refused(
    image: Callable[..., Result], file: Path, arguments: list[str], status: int, sentence: str
) -> None:
    result = image("upload", file, *arguments)

    assert (result.exit_code, sentence in result.stderr) == (status, True), result.stderr


def test_upload_of_what_is_no_file(image: Callable[..., Result], tmp_path: Path) -> None:
    assert image("upload", tmp_path).exit_code == 2
    assert image("upload", tmp_path / "missing").exit_code == 2


def test_upload_goes_on_by_itself_when_the_line_breaks(
    image: Callable[..., Result], running: Server, file: Path
) -> None:
    image_id = queued(running)
    with breaking_line(running.port, 3 * MIB, 2 * MIB, 700, 3 * MIB) as line:
        result = image("upload", file, image_id, "--json", port=line.port)

    assert uploaded(result)["os_hash_value"] == sha512(file.read_bytes())
    assert line.broken == 4
    assert result.stderr.count("Trying again") == 4


def test_upload_gives_up_when_nothing_comes_through(image: Callable[..., Result], running: Server, file: Path) -> None:
    image_id = queued(running)
    with breaking_line(running.port, *[10] * 50) as line:
        result = image("upload", file, image_id, port=line.port)

    assert (result.exit_code, line.connections) == (1, retries.MAX_ATTEMPTS)
    assert f"Given up after {retries.MAX_ATTEMPTS} attempts" in result.stderr


def test_upload_goes_on_where_an_earlier_call_was(image: Callable[..., Result], running: Server, file: Path) -> None:
    image_id = queued(running)
    begun = running.http.post(f"/v2/images/{image_id}/uploads", headers={"upload-length": str(file.stat().st_size)})
    running.http.patch(begun.headers["location"], content=file.read_bytes()[: 4 * MIB], headers=PARTIAL)
    with breaking_line(running.port, 5 * MIB + 50_000) as line:
        result = image("upload", file, image_id, "--json", port=line.port)

    assert line.broken == 0  # The first 4 MiB were not sent again.
    assert uploaded(result)["os_hash_value"] == sha512(file.read_bytes())


def test_upload_of_another_file_does_not_go_on(image: Callable[..., Result], running: Server, file: Path) -> None:
    for length in ({"upload-length": "20000000"}, {}):
        image_id = queued(running)
        begun = running.http.post(f"/v2/images/{image_id}/uploads", headers=length)
        running.http.patch(begun.headers["location"], content=bytes(10 * MIB), headers=PARTIAL)

        result = image("upload", file, image_id)

        assert (result.exit_code, "An upload of another file is under way" in result.stderr) == (1, True)


def test_upload_notices_that_the_bytes_before_were_others(
    image: Callable[..., Result], running: Server, file: Path
) -> None:
    image_id = queued(running)
    begun = running.http.post(f"/v2/images/{image_id}/uploads")
    running.http.patch(begun.headers["location"], content=bytes(4 * MIB), headers=PARTIAL)

    result = image("upload", file, image_id)

    assert (result.exit_code, "their digests differ" in result.stderr) == (1, True)


def test_upload_to_an_image_that_has_the_bytes_is_done(
    image: Callable[..., Result], running: Server, file: Path
) -> None:
    image_id = stored(running, file.read_bytes())

    assert uploaded(image("upload", file, image_id, "--json"))["id"] == image_id
    file.write_bytes(b"other")
    assert image("upload", file, image_id).exit_code == 1


def test_upload_during_a_plain_one_is_refused(image: Callable[..., Result], running: Server, file: Path) -> None:
    image_id = queued(running)
    with running.connect() as connection:
        head = f"PUT /v2/images/{image_id}/file HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n"
        connection.sendall(head.encode() + b"Content-Type: application/octet-stream\r\n\r\nsome")
        wait_until(lambda: running.http.get(f"/v2/images/{image_id}").json()["status"] == "saving")
        result = image("upload", file, image_id)

    assert (result.exit_code, "its status is 'saving'" in result.stderr) == (1, True)


def test_upload_goes_on_when_the_server_was_killed(
    invoke: Invoke, sqlite_database: str, tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line breaks in the middle, the program dies, and another one comes: the address stays the same."""
    monkeypatch.setattr(retries, "FIRST_DELAY_SECONDS", 0.5)
    first = Server(tmp_path, sqlite_database).__enter__()
    image_id = queued(first)
    begun = first.http.post(f"/v2/images/{image_id}/uploads", headers={"upload-length": str(file.stat().st_size)})
    with first.connect() as connection:
        head = f"PATCH {begun.headers['location']} HTTP/1.1\r\nHost: localhost\r\nUpload-Offset: 0\r\n"
        head += f"Upload-Complete: ?1\r\nContent-Type: {PARTIAL['content-type']}\r\n"
        connection.sendall(head.encode() + f"Content-Length: {file.stat().st_size}\r\n\r\n".encode())
        connection.sendall(file.read_bytes()[: 6 * MIB])
        incoming = tmp_path / "glance-registry-images" / "local" / "incoming"
        wait_until(lambda: sum(path.stat().st_size for path in incoming.iterdir()) >= 2 * MIB)
        first.kill_all()
    first.__exit__()

    with Server(tmp_path, sqlite_database) as second:
        result = invoke("image", "upload", file, image_id, "--json", "--server", f"http://127.0.0.1:{second.port}")

        assert uploaded(result)["os_hash_value"] == sha512(file.read_bytes())
        assert second.http.get(f"/v2/images/{image_id}/file").content == file.read_bytes()


def test_upload_that_is_interrupted_says_how_to_go_on(running: Server, tmp_path: Path) -> None:
    path = tmp_path / "large.img"
    path.write_bytes(os.urandom(4 * MIB))
    os.truncate(path, 2**40)  # It never comes to an end.
    image_id = queued(running)
    command = [*PROGRAM, "image", "upload", str(path), image_id, "--server", f"http://127.0.0.1:{running.port}"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    uploads = f"/v2/images/{image_id}/uploads"

    def has_begun() -> bool:
        return any(one["offset"] is None for one in running.http.get(uploads).json()["uploads"])

    wait_until(has_begun)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)

    assert (process.returncode, "Go on with: glance-registry image upload" in errors) == (130, True)
    location = running.http.get(uploads).json()["uploads"][0]["self"]
    assert running.http.delete(location).status_code == 204


class Glance(BaseHTTPRequestHandler):
    """As much of a stock Glance as an upload and a download need; it knows neither uploads with breaks nor ranges."""

    data = b""
    protocol_version = "HTTP/1.1"
    with_digest = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self._answer(201, {"id": "one"}) if self.path == "/v2/images" else self._answer(404, {})

    def do_PUT(self) -> None:
        Glance.data = self.rfile.read(int(self.headers["content-length"]))
        self._answer(204, None)

    def do_GET(self) -> None:
        if self.path.endswith("/file"):
            self.send_response(200)
            self.send_header("content-length", str(len(self.data)))
            self.end_headers()
            self.wfile.write(self.data)
            return
        digest = {"checksum": hashlib.md5(self.data).hexdigest()} if self.with_digest else {}
        status = "active" if Glance.data else "queued"
        self._answer(200, {"id": "one", "name": "one", "status": status, "size": len(self.data), **digest})

    def _answer(self, status: int, body: Any) -> None:
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        if body is not None:
            self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def stock_glance(data: bytes = b"", *, with_digest: bool = True) -> Iterator[int]:
    Glance.data, Glance.with_digest = data, with_digest
    with ThreadingHTTPServer(("127.0.0.1", 0), Glance) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("with_digest", [True, False])
def test_upload_to_a_stock_glance_is_one_request(image: Callable[..., Result], file: Path, with_digest: bool) -> None:
    with stock_glance(with_digest=with_digest) as port:
        result = image("upload", file, "--json", port=port)

    assert uploaded(result)["status"] == "active"
    assert Glance.data == file.read_bytes()
    assert "all bytes are sent in one request" in result.stderr
    assert ("tells no digest" in result.stderr) is not with_digest


def test_upload_in_process(invoke: Invoke, sqlite_database: str, file: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    found = uploaded(invoke("image", "upload", file, "--json", "--database", sqlite_database))
    assert found["os_hash_value"] == sha512(file.read_bytes())

    fetched = invoke("image", "download", found["id"], tmp_path / "back", "--database", sqlite_database)

    assert fetched.exit_code == 0, fetched.stderr
    assert (tmp_path / "back").read_bytes() == file.read_bytes()


# Downloads.


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".part"))


@pytest.mark.parametrize("by", ["id", "name"])
def test_download_writes_a_file(image: Callable[..., Result], running: Server, tmp_path: Path, by: str) -> None:
    data = os.urandom(3 * MIB + 1)
    name = f"noble {os.urandom(4).hex()}"
    image_id = stored(running, data, name=name)

    result = image("download", image_id if by == "id" else name, tmp_path / "noble.img", "--json")

    found = uploaded(result)
    assert found["file"] == str(tmp_path / "noble.img")
    assert (found["id"], found["os_hash_value"]) == (image_id, sha512(data))
    assert (tmp_path / "noble.img").read_bytes() == data
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(("name", "expected"), [("noble", "noble"), ("../noble", None), (".profile", None), ("", None)])
def test_download_names_the_file_after_the_image_if_it_can(
    image: Callable[..., Result], running: Server, tmp_path: Path, name: str, expected: str | None, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    image_id = stored(running, b"bytes", name=name)

    result = image("download", image_id)

    assert (result.exit_code, result.stdout) == (0, f"Wrote {expected or image_id}.\n")
    assert (tmp_path / (expected or image_id)).read_bytes() == b"bytes"


def test_download_goes_on_by_itself_when_the_line_breaks(
    image: Callable[..., Result], running: Server, tmp_path: Path
) -> None:
    data = os.urandom(9 * MIB + 7)
    image_id = stored(running, data)
    with breaking_line(running.port, 3 * MIB, 2 * MIB, 2 * MIB) as line:
        result = image("download", image_id, tmp_path / "back", port=line.port)

    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "back").read_bytes() == data
    assert line.broken == result.stderr.count("Trying again") == 3


def test_download_goes_on_where_an_earlier_call_was(
    image: Callable[..., Result], running: Server, tmp_path: Path
) -> None:
    data = os.urandom(6 * MIB)
    image_id = stored(running, data)
    with breaking_line(running.port, 4 * MIB, *[10] * 50) as line:
        assert image("download", image_id, tmp_path / "back", port=line.port).exit_code == 1
    assert not (tmp_path / "back").exists()
    (part,) = leftovers(tmp_path)
    had = (tmp_path / part).stat().st_size
    assert 0 < had < len(data)

    with breaking_line(running.port, len(data) - had + 10_000) as line:
        result = image("download", image_id, tmp_path / "back", port=line.port)

    assert (result.exit_code, line.broken) == (0, 0), result.stderr
    assert (tmp_path / "back").read_bytes() == data
    assert leftovers(tmp_path) == []


def test_download_of_a_damaged_part_is_noticed_and_the_next_call_starts_anew(
    image: Callable[..., Result], running: Server, tmp_path: Path
) -> None:
    data = os.urandom(MIB)
    image_id = stored(running, data)
    part = tmp_path / f".back.{sha512(data)[:16]}.part"
    for damage in (b"damaged", bytes(2 * MIB)):
        part.write_bytes(damage)

        result = image("download", image_id, tmp_path / "back")

        assert result.exit_code == 1
        assert "not those of the image" in result.stderr or "longer than the image" in result.stderr
        assert not (tmp_path / "back").exists()
        assert leftovers(tmp_path) == []
    assert image("download", image_id, tmp_path / "back").exit_code == 0
    assert (tmp_path / "back").read_bytes() == data


def test_download_replaces_a_file_only_if_told(image: Callable[..., Result], running: Server, tmp_path: Path) -> None:
    image_id = stored(running, b"new")
    (tmp_path / "back").write_bytes(b"old")

    refused = image("download", image_id, tmp_path / "back")
    assert (refused.exit_code, "--force replaces it" in refused.stderr) == (1, True)
    assert (tmp_path / "back").read_bytes() == b"old"
    assert image("download", image_id, tmp_path / "back", "--force").exit_code == 0
    assert (tmp_path / "back").read_bytes() == b"new"


def test_download_to_standard_output(image: Callable[..., Result], running: Server) -> None:
    data = os.urandom(5 * MIB)
    image_id = stored(running, data)
    with breaking_line(running.port, 3 * MIB) as line:
        result = image("download", image_id, "-", port=line.port)

    assert (result.exit_code, result.stdout_bytes) == (0, data)
    assert image("download", image_id, "-", "--json").exit_code == 2


def test_download_does_not_write_to_a_terminal(running: Server, tmp_path: Path) -> None:
    image_id = stored(running, b"bytes")
    main, terminal = os.openpty()
    done = subprocess.run(
        [*PROGRAM, "image", "download", image_id, "-", "--server", f"http://127.0.0.1:{running.port}"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=terminal,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(terminal)
    os.close(main)

    assert (done.returncode, b"not written to a terminal" in done.stderr) == (2, True)


def test_download_of_an_image_without_bytes(image: Callable[..., Result], running: Server, tmp_path: Path) -> None:
    result = image("download", queued(running), tmp_path / "back")

    assert (result.exit_code, "its status is 'queued'" in result.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_download_of_an_image_of_no_bytes(image: Callable[..., Result], running: Server, tmp_path: Path) -> None:
    assert image("download", stored(running, b""), tmp_path / "back").exit_code == 0
    assert (tmp_path / "back").read_bytes() == b""


def test_download_needs_one_image(image: Callable[..., Result], running: Server) -> None:
    name = os.urandom(8).hex()
    assert f"no image with the id or name '{name}'" in image("download", name).stderr
    for _ in range(2):
        queued(running, name=name)
    assert f"Several images have the name '{name}'" in image("download", name).stderr


def test_download_into_a_folder_that_is_not_there(
    image: Callable[..., Result], running: Server, tmp_path: Path
) -> None:
    result = image("download", stored(running, b"bytes"), tmp_path / "none" / "back")

    assert (result.exit_code, "cannot be written: No such file or directory" in result.stderr) == (1, True)


@pytest.mark.parametrize("with_digest", [True, False])
def test_download_from_a_server_without_ranges(image: Callable[..., Result], tmp_path: Path, with_digest: bool) -> None:
    data = os.urandom(3 * MIB)
    with stock_glance(data, with_digest=with_digest) as port, breaking_line(port, 2 * MIB) as line:
        result = image("download", "one", tmp_path / "back", port=line.port)

    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "back").read_bytes() == data
    assert ("tells no digest" in result.stderr) is not with_digest


def test_a_server_that_is_not_there(invoke: Invoke, file: Path) -> None:
    result = invoke("image", "upload", file, "--server", f"http://127.0.0.1:{free_port()}")

    assert (result.exit_code, "The connection broke" in result.stderr) == (1, True)
    assert httpx.__name__ not in result.stderr
