# SPDX-License-Identifier: Apache-2.0
"""What operators ask: is the database there, and what has the program done."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Connection
from tests.conftest import Client, PostgreSQL
from tests.options import make_settings
from tests.raw import ask

from glance_registry.api import metrics
from glance_registry.app import build
from glance_registry.catalogue import images
from glance_registry.model.errors import Invalid, Unavailable

Samples = dict[tuple[str, ...], float]


def scrape(client: Client) -> dict[str, Samples]:
    """The samples by name, then by their labels' values in the labels' alphabetical order."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    found: dict[str, Samples] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            values = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[values] = sample.value
    return found


def test_a_registry_whose_database_answers_is_healthy(client: Client) -> None:
    answer = client.get("/healthcheck")

    assert (answer.status_code, answer.text) == (200, "OK\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_server_that_is_away_is_unhealthy_until_it_is_back(
    postgresql: PostgreSQL, postgresql_database: str, postgresql_client: Client
) -> None:
    image = postgresql_client.add()

    postgresql.close_door(postgresql_database)
    away = postgresql_client.get("/healthcheck")
    postgresql.open_door(postgresql_database)

    assert (away.status_code, away.text) == (503, "The database does not answer.\n")
    assert postgresql_client.get("/healthcheck").status_code == 200
    assert postgresql_client.show(image["id"]) == image


def run(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)


@pytest.mark.parametrize("table", ["images", "image_properties", "image_members", "tombstones"])
def test_a_registry_without_one_of_its_tables_is_unhealthy(client: Client, table: str) -> None:
    client.operate(run, f"ALTER TABLE {table} RENAME TO away")
    away = client.get("/healthcheck")
    client.operate(run, f"ALTER TABLE away RENAME TO {table}")

    assert away.status_code == 503
    assert away.text == "The database lacks tables of the registry; look at it with: glance-registry db check\n"
    assert client.get("/healthcheck").status_code == 200


def test_a_server_without_room_is_unhealthy_until_it_takes_writes_again(
    postgresql_client: Client, postgresql_database: str
) -> None:
    """Nobody else need write to find out that there is room again."""
    refuse = "BEGIN RAISE EXCEPTION 'wanted' USING ERRCODE = '53100'; END"
    postgresql_client.operate(run, f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $${refuse}$$")
    for table in ("images", "tombstones"):
        trigger = f"CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()"
        postgresql_client.operate(run, trigger)
    before = postgresql_client.get("/healthcheck")
    body = {"image": {"name": "i", "disk_format": "raw", "container_format": "bare"}}
    assert postgresql_client.post("/images", body).status_code == 507

    away = [postgresql_client.get("/healthcheck") for _ in range(3)]
    another = Client(make_settings(postgresql_database))
    another.operate(run, "DROP FUNCTION refuse CASCADE")
    another.close()

    assert before.status_code == 200
    assert {(answer.status_code, answer.text) for answer in away} == {
        (503, "The database has no room left; free some and try again.\n")
    }
    assert postgresql_client.get("/healthcheck").status_code == 200
    postgresql_client.add()


GARBAGE = b"garbage!" * 8192


def _overwritten(path: Path) -> Callable[[], object]:
    kept = path.read_bytes()
    path.write_bytes(GARBAGE)
    return lambda: path.write_bytes(kept)


def _replaced(path: Path) -> Callable[[], object]:
    aside = path.rename(path.with_suffix(".aside"))
    path.write_bytes(GARBAGE)
    return lambda: aside.replace(path)


def _moved_away(path: Path) -> Callable[[], object]:
    aside = path.rename(path.with_suffix(".aside"))
    return lambda: aside.replace(path)


SPOILED = {"overwritten": _overwritten, "replaced": _replaced, "moved away": _moved_away}


@pytest.mark.parametrize("how", SPOILED)
def test_a_registry_whose_file_is_spoilt_is_unhealthy_until_it_is_back(sqlite_database: str, how: str) -> None:
    client = Client(make_settings(sqlite_database))
    client.add(id="one")

    restore = SPOILED[how](Path(sqlite_database.removeprefix("sqlite:///")))
    away = client.get("/healthcheck")
    restore()
    back = client.get("/healthcheck")
    client.close()

    assert away.status_code == 503
    assert away.text.startswith("The database ")
    assert back.status_code == 200


@pytest.mark.parametrize("how", ["replaced", "moved away"])
def test_a_write_into_a_file_that_is_not_there_any_more_is_not_acknowledged(sqlite_database: str, how: str) -> None:
    client = Client(make_settings(sqlite_database))
    client.add(id="one")

    SPOILED[how](Path(sqlite_database.removeprefix("sqlite:///")))
    answer = client.post("/images", {"image": {"disk_format": "raw", "container_format": "bare"}})
    client.close()

    assert answer.status_code == 503


def test_requests_are_counted_by_method_route_and_status(client: Client) -> None:
    image = client.add()
    for _ in range(3):
        client.show(image["id"])
    client.get("/images/none")
    client.get("/nothing")
    client.request("BREW", "/images")

    found = scrape(client)

    counted = found["glance_registry_requests_total"]
    assert counted["POST", "/images", "200"] == 1
    assert counted["GET", "/images/{image_id}", "200"] == 3
    assert counted["GET", "/images/{image_id}", "404"] == 1
    assert counted["GET", "-", "404"] == 1
    assert counted["other", "-", "405"] == 1
    assert found["glance_registry_request_seconds_count"]["GET", "/images/{image_id}"] == 4


def test_no_request_can_make_as_many_time_series_as_it_likes(sqlite_client: Client) -> None:
    for number in range(50):
        ask(sqlite_client, f"METHOD{number}", "/images")
        ask(sqlite_client, "GET", f"/nothing/{number}")
        ask(sqlite_client, "GET", f"/images/{number}")

    assert len(scrape(sqlite_client)["glance_registry_requests_total"]) == 3


def test_images_are_counted_by_status_without_the_deleted_ones(client: Client) -> None:
    for status in ("active", "active", "active", "queued"):
        gone = client.add(status=status, is_public=status == "queued")
    client.delete(f"/images/{client.add()['id']}")
    client.delete(f"/images/{gone['id']}")

    assert scrape(client)["glance_registry_images"] == {("active",): 3}


def test_errors_of_the_database_are_counted_and_can_be_seen_while_it_is_away(
    postgresql: PostgreSQL, postgresql_database: str
) -> None:
    client = Client(
        make_settings(postgresql_database),
        clock=itertools.count(step=metrics.RENDER_EVERY).__next__,
    )
    before = scrape(client)["glance_registry_database_errors_total"]

    postgresql.close_door(postgresql_database)
    for _ in range(2):
        client.get("/images")
    after = scrape(client)["glance_registry_database_errors_total"]
    postgresql.open_door(postgresql_database)
    client.close()

    assert before == {(code,): 0 for code in ("unavailable", "overloaded", "read-timeout", "storage-full")}
    assert after == {**before, ("unavailable",): 2}


def test_scrapes_at_once_share_one_count(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.add()
    counts: list[Connection] = []
    count = images.count_by_status

    def spy(connection: Connection) -> dict[str, int]:
        counts.append(connection)
        return count(connection)

    monkeypatch.setattr(images, "count_by_status", spy)

    answers = client.at_once([("GET", "/metrics", None)] * 400)
    again = client.get("/metrics")

    assert len(counts) == 1
    assert all('glance_registry_images{status="active"} 1.0' in answer.text for answer in (*answers, again))


def test_scrapes_within_a_second_share_one_text(sqlite_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    rendered: list[bytes] = []

    def render(registry: CollectorRegistry) -> bytes:
        rendered.append(generate_latest(registry))
        return rendered[-1]

    monkeypatch.setattr(metrics, "generate_latest", render)
    client = Client(make_settings(sqlite_database), clock=lambda: now)
    answers = client.at_once([("GET", "/metrics", None)] * 400)
    now += metrics.RENDER_EVERY / 2
    answers.append(client.get("/metrics"))
    now += metrics.RENDER_EVERY / 2
    later = client.get("/metrics")
    client.close()

    assert len(rendered) == 2
    assert {answer.content for answer in answers} == {rendered[0]}
    assert later.content == rendered[1] != rendered[0]


def test_a_count_that_failed_is_not_tried_by_each_scrape(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[Connection] = []

    def fail(connection: Connection) -> dict[str, int]:
        failures.append(connection)
        raise Unavailable("The database is busy.")

    monkeypatch.setattr(images, "count_by_status", fail)

    answers = [*client.at_once([("GET", "/metrics", None)] * 20), client.get("/metrics")]

    assert len(failures) == 1
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize(
    ("allowed", "address", "status"),
    [
        (None, "127.0.0.1", 200),
        (None, "::1", 200),
        (None, "10.0.0.7", 403),
        (("10.0.0.0/24",), "10.0.0.7", 200),
        (("10.0.0.0/24",), "127.0.0.1", 403),
        (("0.0.0.0/0", "::/0"), "192.0.2.1", 200),
    ],
)
def test_metrics_are_shown_to_the_allowed_addresses(
    sqlite_database: str, allowed: tuple[str, ...] | None, address: str, status: int
) -> None:
    given = {} if allowed is None else {"metrics__allowed_addresses": allowed}
    client = Client(make_settings(sqlite_database, **given), address=address)

    answer = client.get("/metrics")
    client.close()

    assert answer.status_code == status
    assert ("[metrics] allowed_addresses" in answer.text) == (status == 403)


def test_a_wrong_address_for_metrics_is_told_at_the_start() -> None:
    with pytest.raises(Invalid, match=r"\[metrics\] allowed_addresses: 'monitor' is neither"):
        build(make_settings(metrics__allowed_addresses=("monitor",)))


def test_no_series_tells_when_a_series_was_made(client: Client) -> None:
    client.get("/images")

    assert "_created" not in client.get("/metrics").text
