# SPDX-License-Identifier: Apache-2.0
"""OSSA-2013-002 (CVE-2013-0212): a store's password in an error text; OSSA-2014-004 (CVE-2014-1948): in the log.

A location is kept as given, for the API servers that fetch from it; it may hold a credential. So it is in no error
and in no line of the log, whatever goes wrong. The same holds for tokens and for the database's password.
"""

import json
import logging
from typing import Any

import pytest
from sqlalchemy import Connection
from tests.conftest import Caller, Client
from tests.options import make_settings
from tests.processes import free_port

from glance_registry.log import JsonFormatter, RequestLog, TextFormatter

SECRET = "hunter2"
URL = f"swift+https://user:{SECRET}@store.example/container/image"
METADATA = {"password": SECRET}
TOKEN = {"x-auth-token": SECRET}
GOOD = {"location": URL, "location_data": [{"url": URL, "metadata": METADATA}]}

# Requests with a secret location that must fail: method, path, body.
FAILING: list[tuple[str, str, Any]] = [
    ("POST", "/images", {"image": {**GOOD, "status": "unheard"}}),
    ("POST", "/images", {"image": {**GOOD, "id": "taken"}}),
    ("POST", "/images", {"image": {**GOOD, "min_disk": -1}}),
    ("POST", "/images", {"image": {"location": [URL]}}),
    ("POST", "/v2/images", {"locations": [{"url": URL, "metadata": METADATA}]}),
    ("POST", "/v2/images/taken/locations", {"url": URL, "metadata": METADATA}),
    ("POST", "/v2/images/taken/locations", {"url": URL, "metadata": METADATA, "validation_data": {URL: 1}}),
    ("POST", "/images", {"image": {"location": URL + "x" * 4096}}),
    ("POST", "/images", {"image": {"location_data": URL}}),
    ("POST", "/images", {"image": {"location_data": [URL]}}),
    ("POST", "/images", {"image": {"location_data": [{"url": URL, "status": "unheard"}]}}),
    ("POST", "/images", {"image": {"location_data": [{"url": URL, "metadata": SECRET}]}}),
    ("POST", "/images", {"image": {"location": URL + "\0"}}),
    ("POST", "/images", {"image": {"properties": {"a": URL, "b": [URL]}}}),
    ("POST", "/images", {"image": [URL]}),
    ("POST", "/images", [URL]),
    ("POST", "/images", URL),
    ("PUT", "/images/{id}", {"image": GOOD, "from_state": "saving"}),
    ("PUT", "/images/{id}", {"image": GOOD, "from_state": [URL]}),
    ("PUT", "/images/{id}", {"image": {**GOOD, "id": "other"}}),
    ("PUT", "/images/none", {"image": GOOD}),
    ("DELETE", "/images/{id}", None),
    ("PUT", "/images/{id}/members/m", {"members": URL}),
    ("PATCH", "/images/{id}", {"image": GOOD}),
]


def _text(records: list[logging.LogRecord]) -> str:
    return "\n".join(form.format(record) for record in records for form in (TextFormatter(), JsonFormatter()))


class Logged:
    """What was logged, whichever way it went."""

    def __init__(self, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
        self._caplog = caplog
        self._capsys = capsys
        self.requests = 0
        """Lines of requests, as of the last call."""

    def __call__(self) -> str:
        printed = self._capsys.readouterr().out
        self.requests = sum("req-" in line for line in printed.splitlines())
        return printed + _text(self._caplog.records)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Logged:
    return Logged(caplog, capsys)


def _headers(answer: Any) -> str:
    return str(answer.headers.raw)


@pytest.fixture(autouse=True)
def _log_much(caplog: pytest.LogCaptureFixture) -> None:
    """Statements too, which nobody logs by default; before the database is opened, or they are not."""
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, "glance_registry")


@pytest.mark.parametrize(("method", "path", "body"), FAILING)
@pytest.mark.parametrize(("accept", "form"), [("*/*", "text"), ("application/json", "json")])
def test_no_error_and_no_log_line_has_a_location(
    sqlite_database: str, logged: Logged, method: str, path: str, body: Any, accept: str, form: str
) -> None:
    client = Client(make_settings(sqlite_database), request_log=RequestLog(form))
    client.add(id="taken")
    image = client.add(**GOOD, protected=True)

    answer = client.request(
        method, path.format(id=image["id"]), content=json.dumps(body), headers={**TOKEN, "accept": accept}
    )

    client.close()
    assert 400 <= answer.status_code < 500
    assert SECRET not in answer.text + _headers(answer)
    assert SECRET not in logged()
    assert logged.requests == 3


def test_what_succeeds_is_not_logged_either(database: str, caplog: pytest.LogCaptureFixture) -> None:
    client = Client(
        make_settings(
            database,
            registry__contract="queens",
            registry__clients="api_servers",
            identity__mode="context",
        )
    )
    owner = client.caller("o")
    owner = Caller(client, {**owner.headers, **TOKEN})

    image = owner.add(**GOOD, is_public=False)
    path = f"/images/{image['id']}"
    owner.get(f"/images/detail?name={image['name']}")
    owner.put(path, {"image": {**GOOD, "location": URL + "2"}})
    owner.show(image["id"])
    owner.delete(path)
    metrics = owner.get("/metrics").text
    client.close()

    assert image["location"] == URL
    assert SECRET not in _text(caplog.records)
    assert SECRET not in metrics


def _drop_the_index_of_properties(connection: Connection) -> None:
    connection.exec_driver_sql("DROP TABLE image_properties")


def _refuse_rows(connection: Connection) -> None:
    """PostgreSQL would print the whole row that fails a check."""
    event = "BEFORE INSERT ON images BEGIN SELECT RAISE(ABORT, 'no'); END"
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"CREATE TRIGGER refuse {event}")
    else:
        connection.exec_driver_sql("ALTER TABLE images ADD CHECK (status <> 'queued')")


@pytest.mark.parametrize("breakage", [_drop_the_index_of_properties, _refuse_rows])
def test_a_broken_database_tells_no_secret(database: str, caplog: pytest.LogCaptureFixture, breakage: Any) -> None:
    client = Client(make_settings(database))
    client.operate(breakage)

    answer = client.post(
        "/images",
        {
            "image": {
                "status": "queued",
                "disk_format": "raw",
                "container_format": "bare",
                "properties": {"a": SECRET},
                **GOOD,
            }
        },
        headers=TOKEN,
    )
    client.close()

    assert answer.status_code in (409, 500)
    assert SECRET not in answer.text + _headers(answer)
    assert SECRET not in _text(caplog.records)
    assert "Traceback" not in answer.text


@pytest.mark.external
@pytest.mark.parametrize("password", [SECRET, f"{SECRET}%40x", f"a:{SECRET}"])
def test_a_database_that_is_not_there_tells_no_password(caplog: pytest.LogCaptureFixture, password: str) -> None:
    client = Client(make_settings(f"postgresql://user:{password}@127.0.0.1:{free_port()}/images"))

    answers = [client.get(path) for path in ("/healthcheck", "/images", "/images/x", "/metrics")]
    client.close()

    assert {answer.status_code for answer in answers[:3]} == {503}
    assert SECRET not in "".join(answer.text + _headers(answer) for answer in answers)
    assert SECRET not in _text(caplog.records)


@pytest.mark.parametrize("url", ["mysql://user:{}@host/x", "postgresql//user:{}@host", "postgresql://user:{}@host:x/y"])
def test_a_database_url_that_cannot_be_used_is_not_repeated(url: str) -> None:
    from glance_registry.catalogue.database_url import parse_url
    from glance_registry.model.errors import Invalid

    with pytest.raises(Invalid) as refused:
        parse_url(url.format(SECRET))

    assert SECRET not in str(refused.value)
