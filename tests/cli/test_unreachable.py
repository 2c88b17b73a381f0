# SPDX-License-Identifier: Apache-2.0
"""A command whose database cannot be used says which, and what its driver or server said; never a password."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from tests.conftest import PostgreSQL
from tests.processes import free_port

Invoke = Callable[..., Result]

COMMANDS = (("db", "check"), ("db", "upgrade"), ("db", "purge", "--older-than", "1"), ("export",), ("serve",))
commands = pytest.mark.parametrize("command", COMMANDS, ids=" ".join)


def refusal(result: Result) -> str:
    assert result.exit_code == 1, result.output
    (line,) = (line for line in result.output.splitlines() if line)
    assert "s3cret-pw" not in line
    return line


def run(invoke: Invoke, command: tuple[str, ...], url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    if command == ("serve",):
        monkeypatch.setattr("glance_registry.cli.serve.refuse_port_in_use", lambda settings: None)
    return refusal(invoke(*command, "--database", url))


@pytest.mark.external
@commands
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:s3cret-pw@127.0.0.1:{closed}/r", ("postgresql://127.0.0.1:{closed}/r", "Connect call failed")),
        ("postgresql://u:s3cret-pw@nowhere.invalid/r", ("postgresql://nowhere.invalid:5432/r", "gaierror")),
        ("postgresql://u:s3cret-pw@x@127.0.0.1:{closed}/r", ("%40",)),
    ],
)
def test_a_server_that_cannot_be_reached(
    invoke: Invoke, command: tuple[str, ...], url: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = free_port()
    line = run(invoke, command, url.format(closed=closed), monkeypatch)

    assert line.startswith("Error: The database does not answer. (")
    assert [word for word in words if word.format(closed=closed) not in line] == []


@commands
def test_a_database_that_is_not_there(
    invoke: Invoke, command: tuple[str, ...], postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 'database "never_made" does not exist' in run(invoke, command, postgresql.url("never_made"), monkeypatch)


@commands
def test_a_wrong_password(
    invoke: Invoke, command: tuple[str, ...], postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgresql.demanding_password() as url:
        line = run(invoke, command, url("s3cret-pw"), monkeypatch)

    assert 'password authentication failed for user "asked"' in line


@commands
def test_a_file_that_is_no_database(
    invoke: Invoke, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "r.sqlite"
    file.write_bytes(b"garbage!" * 1024)
    line = run(invoke, command, f"sqlite:///{file}", monkeypatch)

    assert f"(sqlite:///{file}: DatabaseError: file is not a database (SQLITE_NOTADB))" in line


@pytest.mark.parametrize("command", [("db", "upgrade"), ("serve",)], ids=" ".join)
def test_a_folder_that_is_not_there(
    invoke: Invoke, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = run(invoke, command, f"sqlite:///{tmp_path}/none/r.sqlite", monkeypatch)

    assert f"No such file or directory. (sqlite:///{tmp_path}/none/r.sqlite)" in line
