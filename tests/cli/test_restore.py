# SPDX-License-Identifier: Apache-2.0
"""`restore`: a copy of an SQLite database put where the registry's is, whole or not at all."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke

from glance_registry.catalogue.sqlite.recovery import LOG, MARKER, beside

KIND = ("--disk-format", "raw", "--container-format", "bare")

# A program that is killed while it writes: what it wrote last is in the log alone.
WRITE = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA wal_autocheckpoint = 0")
connection.execute("UPDATE images SET name = 'later' || number, updated_at = updated_at + number")
connection.execute("DELETE FROM images WHERE number % 3 = 0")
connection.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""
RESTORE = """
import asyncio, os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from glance_registry.catalogue.sqlite.restore import restore

def step(name):
    if name == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(restore(Path(sys.argv[1]), Path(sys.argv[2]), datetime.now(UTC), step))
"""


def killed(program: str, *arguments: object) -> None:
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=False)
    assert done.returncode == -signal.SIGKILL


def names(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    found = [name for (name,) in connection.execute("SELECT name FROM images ORDER BY number")]
    connection.close()
    return found


def fill(invoke: Invoke, database: str, count: int) -> None:
    body = '{"name": "n", "disk_format": "raw", "container_format": "bare"}\n'
    assert invoke("import", "json", "-", "--database", database, input=body * count).exit_code == 0


@pytest.fixture
def path(sqlite_database: str) -> Path:
    return Path(sqlite_database.removeprefix("sqlite:///"))


@pytest.fixture
def copy(invoke: Invoke, sqlite_database: str, path: Path, tmp_path: Path) -> Path:
    """A copy with one image; the database has gone on since, and its log was left by a program that was killed."""
    fill(invoke, sqlite_database, 1)
    copy = tmp_path / "copy.sqlite"
    shutil.copy(path, copy)
    fill(invoke, sqlite_database, 5)
    killed(WRITE, path)
    assert beside(path, LOG).stat().st_size > 0
    return copy


def aside_of(path: Path) -> Path:
    (aside,) = (each for each in path.parent.glob(f"{path.name}.before-*Z"))
    return aside


@pytest.mark.external
def test_a_copy_is_restored_without_the_log_of_the_old_file_which_goes_aside_with_it(
    invoke: Invoke, sqlite_database: str, path: Path, copy: Path
) -> None:
    path.chmod(0o640)

    result = invoke("restore", copy, "--database", sqlite_database)

    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == f"Restored 1 images, deleted ones too, to {path}."
    assert names(path) == ["n"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert str(aside_of(path)) in result.stdout
    assert len(names(aside_of(path))) == 4  # With what was in the log.
    assert invoke("db", "check", "--database", sqlite_database).exit_code == 0
    left = {each.name for each in path.parent.iterdir() if each.name.startswith(path.name + "-")}
    assert left <= {beside(path, LOG).name, f"{path.name}-shm"}


def test_a_new_database_is_made(invoke: Invoke, path: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.sqlite"

    result = invoke("restore", path, "--database", f"sqlite:///{target}")

    assert result.stdout == f"Restored 0 images, deleted ones too, to {target}.\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.external
@pytest.mark.parametrize("kind", ["text", "foreign", "newer", "damaged"])
def test_what_is_no_sound_copy_changes_nothing(
    invoke: Invoke, sqlite_database: str, path: Path, copy: Path, kind: str
) -> None:
    if kind == "text":
        copy.write_text("text " * 1000)
    elif kind == "damaged":
        with copy.open("r+b") as stream:
            stream.seek(4096)
            stream.write(b"\xff" * 8192)
    else:
        connection = sqlite3.connect(copy)
        connection.execute(
            "DROP TABLE glance_registry_version"
            if kind == "foreign"
            else "UPDATE glance_registry_version SET version_num = '9999', compatible_since = '9999'"
        )
        connection.commit()
        connection.close()
    before = {each.name: each.read_bytes() for each in path.parent.iterdir() if each != copy}

    result = invoke("restore", copy, "--database", sqlite_database)

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: The file ")
    assert {each.name: each.read_bytes() for each in path.parent.iterdir() if each != copy} == before


def test_it_refuses_while_a_server_has_the_database_open(
    invoke: Invoke, server: str, sqlite_database: str, path: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.sqlite"
    assert invoke("db", "upgrade", "--database", f"sqlite:///{other}").exit_code == 0

    result = invoke("restore", other, "--database", sqlite_database)

    assert result.stderr == "Error: A program has the database open; stop the registry first.\n"
    assert invoke("image", "add", "--server", server, *KIND, "--id", "one").exit_code == 0


def test_the_database_itself_is_no_copy_of_it(invoke: Invoke, sqlite_database: str, path: Path) -> None:
    assert "is the database itself" in invoke("restore", path, "--database", sqlite_database).stderr


def test_a_server_s_database_is_restored_with_its_own_tools(invoke: Invoke, path: Path) -> None:
    result = invoke("restore", path, "--database", "postgresql://postgres@localhost/images")

    assert result.stderr == "Error: The database is not an SQLite file; restore PostgreSQL with its own tools.\n"


STEPS = ["mark", "move", "move -wal", "move -shm", "move file", "replace", "verify", "unmark"]


@pytest.mark.external
@pytest.mark.parametrize("step", STEPS)
def test_a_restore_that_is_killed_is_done_again_and_nothing_is_opened_until_then(
    invoke: Invoke, sqlite_database: str, path: Path, copy: Path, step: str
) -> None:
    killed(RESTORE, copy, path, step)

    if step != "mark":
        assert beside(path, MARKER).exists()
        for command in (("db", "upgrade"), ("db", "check"), ("export",), ("serve",)):
            result = invoke(*command, "--database", sqlite_database)
            assert result.exit_code == 1
            assert "A restore of this database was begun" in result.stderr
    result = invoke("restore", copy, "--database", sqlite_database)

    assert result.exit_code == 0, result.output
    assert names(path) == ["n"]
    assert len(names(aside_of(path))) == 4
    assert not beside(path, MARKER).exists()


@pytest.mark.external
def test_a_file_copied_over_the_log_of_another_one_is_found_at_the_start(
    invoke: Invoke, sqlite_database: str, path: Path, tmp_path: Path
) -> None:
    fill(invoke, sqlite_database, 1)
    copy = tmp_path / "copy.sqlite"
    shutil.copy(path, copy)
    fill(invoke, sqlite_database, 400)
    killed(WRITE, path)
    log = beside(path, LOG).read_bytes()
    shutil.copy(copy, path)
    os.utime(beside(path, LOG), (1, 1))  # Written before the copy came, however coarse the file system's clock.

    for command in (("db", "upgrade"), ("db", "check"), ("export",), ("serve",)):
        result = invoke(*command, "--database", sqlite_database)
        assert result.exit_code == 1
        assert "The database is damaged together with the log beside it, registry.sqlite-wal" in result.stderr
    assert path.read_bytes() == copy.read_bytes()
    assert beside(path, LOG).read_bytes() == log
    assert invoke("restore", copy, "--database", sqlite_database).exit_code == 0
    assert names(path) == ["n"]


@pytest.mark.external
def test_a_log_that_belongs_to_its_file_is_no_fault(
    invoke: Invoke, sqlite_database: str, path: Path, copy: Path
) -> None:
    os.utime(beside(path, LOG), (1, 1))

    assert invoke("db", "upgrade", "--database", sqlite_database).exit_code == 0
    assert len(names(path)) == 4
