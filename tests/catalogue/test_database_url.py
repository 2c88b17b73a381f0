# SPDX-License-Identifier: Apache-2.0
"""Database URLs with one server or several, in libpq's forms and SQLAlchemy's."""

import pytest
from tests.options import make_settings

from glance_registry.app import build
from glance_registry.catalogue.database_url import parse_url, places
from glance_registry.model.errors import Invalid
from glance_registry.settings import SETTINGS, masked

TWO = [("h1", 5432), ("h2", 5433)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:p@h1:5432,h2:5433/db", TWO),
        ("postgresql+asyncpg://h1:5432,h2:5433/db?target_session_attrs=read-write", TWO),
        ("postgresql://u:p@/db?host=h1:5432&host=h2:5433", TWO),
        ("postgresql://u:p@/db?host=h1,h2&port=5432,5433", TWO),
        ("postgresql://u:p@/db?host=h1&host=h2&port=5433", [("h1", 5433), ("h2", 5433)]),
        ("postgresql://u:a,b@h1,h2/db", [("h1", None), ("h2", None)]),
        ("postgresql://u@[::1]:5433,h2/db", [("::1", 5433), ("h2", None)]),
        ("postgresql://u@[::1]:5433/db", [("::1", 5433)]),
        ("postgresql://u@h1:5433/db", [("h1", 5433)]),
        ("postgresql://u@/db?host=/run/postgresql", [("/run/postgresql", None)]),
        ("postgresql://u@/db?host=/run/postgresql&port=5433", [("/run/postgresql", 5433)]),
        ("postgresql:///db", [(None, None)]),
    ],
)
def test_the_servers_of_a_url_are_found(text: str, expected: list[tuple[str, int]]) -> None:
    url = parse_url(text)

    assert places(url) == expected
    assert url.database == "db"
    assert places(parse_url(url.render_as_string(hide_password=False))) == expected


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:secret@h1:x,h2/db",
        "postgresql://u:secret@h1,,h2/db",
        "postgresql://u:secret@h1,h2:70000/db",
        "postgresql://u:secret@h1:0,h2/db",
        "postgresql://u:secret@[::1,h2/db",
        "postgresql://u:secret@/db?host=h1,h2,h3&port=1,2",
        "postgresql://u:secret@/db?host=h1&port=x",
    ],
)
def test_a_url_whose_servers_cannot_be_read_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(Invalid, match="cannot be read") as raised:
        parse_url(text)

    assert "secret" not in str(raised.value)


def test_user_password_and_database_survive_several_servers() -> None:
    url = parse_url("postgresql://u:p%40,x@h1,h2/db?sslmode=require")

    assert (url.username, url.password, url.database, url.query["sslmode"]) == ("u", "p@,x", "db", "require")


@pytest.mark.parametrize(
    ("database", "replica"),
    [
        ("sqlite:///a.sqlite", "postgresql://h/db"),
        ("postgresql://h/db", "sqlite:///a.sqlite"),
        ("postgresql://h/db", "x"),
    ],
)
def test_a_replica_that_cannot_be_one_stops_the_program(database: str, replica: str) -> None:
    with pytest.raises(Invalid):
        build(make_settings(database, database__replica_connection=replica))


def test_the_password_of_a_replica_is_not_shown() -> None:
    setting = next(setting for setting in SETTINGS if setting.attribute == "database.replica_connection")

    assert masked(setting, "postgresql://u:p,@x@h1:1,h2:2/db") == "postgresql://u:***@h1:1,h2:2/db"
