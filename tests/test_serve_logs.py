# SPDX-License-Identifier: Apache-2.0
"""What the program logs: one line for each request, as JSON, and never what nobody may read."""

import os
import re
import signal
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.conftest import PostgreSQL
from tests.processes import PROGRAM, Server, answers, environment, free_port, wait_until

pytestmark = pytest.mark.external

SECRET = "s3cret-of-the-store"
LOCATION = f"http://user:{SECRET}@store.example/1"
PLACES = [{"url": f"swift://a:{SECRET}@b/2", "metadata": {"key": SECRET}, "status": "active"}]
VALID = {"disk_format": "raw", "container_format": "bare", "location": LOCATION, "location_data": PLACES}


def test_there_is_one_json_line_for_each_request(tmp_path: Path) -> None:
    with Server(tmp_path, "sqlite:///r.sqlite") as server:
        sent = [("GET", "/images", 200), ("GET", "/images/none", 404), ("GET", "/a\u2028b", 404), ("PATCH", "/", 405)]
        for method, path, _ in sent:
            server.http.request(method, path, headers={"x-openstack-request-id": "req-mine"})
        server.stop()
        logged = [line for line in server.lines if line.get("request_id") == "req-mine"]

    assert [(line["method"], line["status"]) for line in logged] == [(method, status) for method, _, status in sent]
    assert [line["route"] for line in logged] == ["/images", "/images/{image_id}", "-", "-"]
    for line in logged:
        assert (line["event"], line["level"]) == ("request", "info")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert isinstance(line["ms"], float)


def test_on_a_terminal_lines_are_for_people(tmp_path: Path) -> None:
    import pty
    import subprocess

    ours, theirs = pty.openpty()
    port = free_port()
    arguments = [*PROGRAM, "serve", "--port", str(port), "--database", "sqlite:///r.sqlite"]
    process = subprocess.Popen(arguments, cwd=tmp_path, env=environment(tmp_path), stdout=theirs, stderr=theirs)
    os.close(theirs)  # Then reading fails, instead of waiting for ever, when the program ends.
    wait_until(lambda: process.poll() is not None or answers(port))
    shown = os.read(ours, 10_000).decode()
    process.send_signal(signal.SIGINT)
    process.wait(60)
    os.close(ours)

    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} info    listening url=http://", shown)


def _break_sqlite(folder: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(folder / "r.sqlite", isolation_level=None)
    connection.execute("ALTER TABLE images RENAME COLUMN locations TO gone")
    connection.close()


def _fail_in_every_way(server: Server) -> None:
    image = server.add(**VALID)
    for body in (
        {"image": {**VALID, "id": image["id"]}},
        {"image": {**VALID, "status": "nonsense"}},
        {"image": {**VALID, "location": 7}},
        {"image": {**VALID, "location": LOCATION + "\0"}},
        {"image": {**VALID, "location_data": [{"url": LOCATION, "status": SECRET}]}},
        {"image": VALID, "from_state": 7},
    ):
        server.http.post("/images", json=body)
        server.http.put(f"/images/{image['id']}", json=body)
    server.http.post("/images", content=b'{"image": {"location": "' + LOCATION.encode() + b'"')
    server.http.get(f"/images/{image['id']}")
    server.http.get("/images/detail", params={"name": LOCATION, "property-a": SECRET})
    server.http.get(f"/{LOCATION}")


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_no_credentials_of_a_location_are_ever_logged(
    tmp_path: Path, postgresql: PostgreSQL, postgresql_database: str, engine: str
) -> None:
    url = "sqlite:///r.sqlite" if engine == "sqlite" else postgresql_database
    with Server(tmp_path, url) as server:
        _fail_in_every_way(server)
        if engine == "sqlite":
            _break_sqlite(tmp_path)
        else:
            _break_postgresql(postgresql_database)
        broken = [
            server.http.post("/images", json={"image": VALID}).status_code,
            server.http.put("/images/none", json={"image": VALID}).status_code,
            server.http.get("/images/detail").status_code,
        ]
        server.stop()
        output, levels = server.output, {line["level"] for line in server.lines}

    assert 500 in broken  # There is a trace to look at.
    assert "error" in levels
    assert "trace" in output
    assert SECRET not in output
    assert "store.example" not in output


def _break_postgresql(url: str) -> None:
    import asyncio

    from glance_registry.catalogue.open import open_catalogue

    statement = "ALTER TABLE images RENAME locations TO gone"

    async def rename() -> None:
        catalogue = open_catalogue(url)
        await catalogue.write(lambda connection: connection.execute(text(statement)))
        await catalogue.close()

    asyncio.run(rename())


def test_a_group_of_writes_that_fails_is_logged_without_what_was_to_be_written(tmp_path: Path) -> None:
    with Server(tmp_path, "sqlite:///r.sqlite") as server:
        server.add()
        for left in tmp_path.glob("r.sqlite*"):
            left.write_bytes(b"garbage!" * 8192)
        statuses = {server.http.post("/images", json={"image": VALID}).status_code for _ in range(3)}
        server.stop()

    assert statuses <= {200, 503}
    assert SECRET not in server.output
    assert server.lines
