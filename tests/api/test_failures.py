# SPDX-License-Identifier: Apache-2.0
"""The log says why requests are answered with 503 and 507; the answer does not."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Client, PostgreSQL, database_name
from tests.options import make_settings
from tests.processes import free_port

Lines = list[dict[str, Any]]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def lines(logged: pytest.LogCaptureFixture) -> Lines:
    ours = [record for record in logged.records if record.getMessage().startswith(("requests ", "standby "))]
    return [{"event": record.getMessage(), **vars(record)["fields"]} for record in ours]


def fail(client: Client, times: int = 5) -> str:
    """Send reads that fail; the request id of the first."""
    answers = [client.get("/images") for _ in range(times)]
    assert {(answer.status_code, answer.text) for answer in answers} == {(503, "The database does not answer.\n")}
    return answers[0].headers["x-openstack-request-id"]


def test_a_server_that_is_stopped_meanwhile_is_named_once_and_when_it_is_back(
    postgresql: PostgreSQL, postgresql_database: str, logged: pytest.LogCaptureFixture
) -> None:
    client = Client(make_settings(postgresql_database))
    assert client.get("/images").status_code == 200
    postgresql.close_door(postgresql_database)
    first = fail(client)
    postgresql.open_door(postgresql_database)
    assert client.get("/images").status_code == 200
    client.close()

    failing, working = lines(logged)
    assert failing["event"] == "requests fail"
    assert failing["request_id"] == first
    assert failing["database"].endswith(f"/{database_name(postgresql_database)}")
    assert "is not currently accepting connections" in failing["cause"]
    assert (working["event"], working["failures"]) == ("requests work again", 5)


@pytest.mark.external
@pytest.mark.parametrize(
    ("url", "database", "cause"),
    [
        (
            "postgresql://u:s3cret-pw@{closed}/r",
            "postgresql://{closed}/r",
            "ConnectionRefusedError",
        ),
        ("postgresql://u:s3cret-pw@nowhere.invalid/r", "postgresql://nowhere.invalid:5432/r", "gaierror"),
        (
            "postgresql://u:s3cret-pw@{closed},{other}/r",
            "postgresql://{closed},{other}/r",
            "{other}",
        ),
    ],
)
def test_a_server_that_cannot_be_reached_is_named(
    url: str, database: str, cause: str, logged: pytest.LogCaptureFixture
) -> None:
    ports = {name: f"127.0.0.1:{free_port()}" for name in ("closed", "other")}
    client = Client(make_settings(url.format(**ports)))
    first = fail(client)
    client.close()

    (line,) = lines(logged)
    assert (line["request_id"], line["database"]) == (first, database.format(**ports))
    assert cause.format(**ports) in line["cause"]
    assert "s3cret-pw" not in str([vars(record) for record in logged.records])


def test_a_database_that_is_not_there_is_named(postgresql: PostgreSQL, logged: pytest.LogCaptureFixture) -> None:
    client = Client(make_settings(postgresql.url("never_made")))
    fail(client)
    client.close()

    (line,) = lines(logged)
    assert line["cause"] == 'InvalidCatalogNameError: database "never_made" does not exist'


def test_a_wrong_password_is_named_and_not_shown(postgresql: PostgreSQL, logged: pytest.LogCaptureFixture) -> None:
    with postgresql.demanding_password() as url:
        client = Client(make_settings(url("s3cret-pw")))
        fail(client)
        client.close()

    (line,) = lines(logged)
    assert line["cause"] == 'InvalidPasswordError: password authentication failed for user "asked"'
    assert "s3cret-pw" not in str([vars(record) for record in logged.records])


def test_a_file_that_is_spoilt_is_named(sqlite_database: str, logged: pytest.LogCaptureFixture) -> None:
    client = Client(make_settings(sqlite_database))
    client.add()
    path = Path(sqlite_database.removeprefix("sqlite:///"))
    path.rename(path.with_suffix(".aside"))
    answers = [client.get("/healthcheck") for _ in range(3)]
    path.with_suffix(".aside").rename(path)
    client.get("/images")
    client.get("/healthcheck")
    client.close()

    assert {answer.status_code for answer in answers} == {503}
    failing, working = lines(logged)
    assert failing["database"] == sqlite_database
    assert failing["cause"] == "The database file is not there any more."
    assert failing["request_id"] == answers[0].headers["x-openstack-request-id"]
    assert working["event"] == "requests work again"


def test_a_write_that_a_file_does_not_take_is_named_and_reads_do_not_end_it(
    sqlite_database: str, logged: pytest.LogCaptureFixture
) -> None:
    client = Client(make_settings(sqlite_database))
    client.operate(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1"))
    body = {"image": {"disk_format": "raw", "container_format": "bare", "properties": {"a": "x" * 60_000}}}
    answers = [client.post("/images", body) for _ in range(3)]
    assert client.get("/images").status_code == 200
    client.close()

    assert {answer.status_code for answer in answers} == {507}
    (line,) = lines(logged)
    assert line["error"] == "storage-full"
    assert re.fullmatch(r"OperationalError: database or disk is full \(SQLITE_FULL\)", line["cause"])


def test_what_is_a_fault_of_ours_has_its_request_id_in_the_line(
    sqlite_client: Client, logged: pytest.LogCaptureFixture
) -> None:
    sqlite_client.operate(lambda connection: connection.exec_driver_sql("ALTER TABLE images RENAME locations TO gone"))
    answer = sqlite_client.get("/images/detail")

    assert answer.status_code == 500
    (record,) = (record for record in logged.records if record.exc_info)
    assert vars(record)["fields"] == {"request_id": answer.headers["x-openstack-request-id"]}
