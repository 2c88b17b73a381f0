# SPDX-License-Identifier: Apache-2.0
"""A long outage is a few lines, whatever it does meanwhile; and a cause is one line without secrets."""

import asyncio
import logging

import pytest
from sqlalchemy import Connection, make_url, text

from glance_registry.catalogue.causes import MAX_CAUSE, Database, describe, locate
from glance_registry.catalogue.database_url import read_url
from glance_registry.catalogue.outages import MAX_CAUSES, QUIET_SECONDS, Outages
from glance_registry.catalogue.postgresql.catalogue import Limits, ServerCatalogue
from glance_registry.model.errors import Unavailable


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outages(clock: Clock) -> Outages:
    return Outages("failing", "working", clock)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def events(logged: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in logged.records]


def test_a_cause_is_logged_once_and_so_is_its_end(
    outages: Outages, clock: Clock, logged: pytest.LogCaptureFixture
) -> None:
    for clock.now in range(1_000):
        outages.failed("read", "gone", {"cause": "gone"})
    outages.worked("read", since=1_000)

    assert events(logged) == ["failing", "working"]
    assert vars(logged.records[0])["fields"] == {"cause": "gone"}
    assert vars(logged.records[1])["fields"]["failures"] == 1_000
    assert not outages.is_open


def test_another_cause_is_logged(outages: Outages, logged: pytest.LogCaptureFixture) -> None:
    for cause in ("refused", "refused", "no password", "refused"):
        outages.failed("read", cause, {"cause": cause})

    assert [vars(record)["fields"]["cause"] for record in logged.records] == ["refused", "no password"]


def test_what_comes_and_goes_is_logged_once_a_minute(
    outages: Outages, clock: Clock, logged: pytest.LogCaptureFixture
) -> None:
    for number in range(2 * QUIET_SECONDS + 1):
        clock.now = number
        outages.failed("read", "busy", {})
        outages.worked("read", since=number)

    assert events(logged) == ["failing", "working"] * 3


def test_a_success_that_began_before_the_failure_ends_nothing(outages: Outages, clock: Clock) -> None:
    clock.now = 5
    outages.failed("read", "gone", {})
    outages.worked("read", since=4)

    assert outages.is_open


def test_reads_that_work_do_not_end_that_writes_fail(outages: Outages, logged: pytest.LogCaptureFixture) -> None:
    outages.failed("write", "full", {})
    outages.worked("read", since=1)

    assert outages.is_open
    outages.worked("write", since=1)
    assert events(logged) == ["failing", "working"]


def test_causes_without_end_are_not_lines_without_end(outages: Outages, logged: pytest.LogCaptureFixture) -> None:
    for number in range(10 * MAX_CAUSES):
        outages.failed("read", f"cause {number}", {})

    assert len(logged.records) == MAX_CAUSES + 1


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:////var/lib/r.sqlite", "sqlite:////var/lib/r.sqlite"),
        ("postgresql://u:s3cret@db.example/r", "postgresql://db.example:5432/r"),
        ("postgresql://u:s3cret@[::1]:5433/r?password=s3cret", "postgresql://[::1]:5433/r"),
        ("postgresql://u:s3cret@h1,h2:7/r", "postgresql://h1:5432,h2:7/r"),
        ("postgresql://u@/r?host=/run/pg", "postgresql:///run/pg:5432/r"),
    ],
)
def test_a_database_is_named_without_its_password(url: str, name: str) -> None:
    assert locate(read_url(url)) == Database(name)


@pytest.mark.parametrize("url", ["postgresql://u:s3c@ret/x@h/r", "postgresql://u:s3c@ret@h/r"])
def test_of_a_password_that_cannot_be_told_apart_nothing_is_shown(url: str) -> None:
    database = locate(make_url(url))
    failure = Unavailable("gone")
    failure.__cause__ = ValueError('database "ret/x@h/r" does not exist')

    assert "ret" not in database.name
    assert database.cause(failure) == "ValueError"


def test_a_cause_is_one_short_line() -> None:
    assert describe(ValueError("a\nb  c")) == "ValueError: a b c"
    assert len(describe(ValueError("x" * 10_000))) == MAX_CAUSE
    assert describe(TimeoutError()) == "TimeoutError: no answer in time"


def test_an_error_that_is_its_own_cause_is_walked_once() -> None:
    error = Unavailable("gone")
    error.__cause__ = error

    assert Database("d").cause(error) == ""


def test_a_statement_that_takes_too_long_says_so(loop: asyncio.Runner, postgresql_database: str) -> None:
    def sleep(connection: Connection) -> None:
        connection.execute(text("SELECT pg_sleep(60)"))

    async def run() -> Unavailable:
        catalogue = ServerCatalogue(read_url(postgresql_database), Limits(seconds=0.5))
        try:
            await catalogue.read(sleep)
        except Unavailable as error:
            return error
        finally:
            await catalogue.close()
        raise AssertionError("it was not refused")

    cause = Database("d").cause(loop.run(run()))
    # The server gives up at the same moment as we do: either may be first.
    assert "statement timeout" in cause or "took too long" in cause or "no answer in time" in cause
