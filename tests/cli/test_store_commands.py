# SPDX-License-Identifier: Apache-2.0
"""`store check`: what it prints, for people and for programs, and how it ends."""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Invoke
from tests.conftest import Client
from tests.options import make_settings

from glance_registry.catalogue.causes import locate
from glance_registry.catalogue.database_url import parse_url

MISSING = "The object is missing: restore it from a backup, or delete the images that have it."
DATA = b"the bytes of an image"
OLD = 2 * 60 * 60
"""Seconds: longer than the time in which an object without a row is not surplus."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def image_id(database: str, folder: Path) -> str:
    """An image with bytes."""
    client = Client(make_settings(database, stores__directory=str(folder)))
    try:
        image_id: str = client.register()["id"]
        headers = {"content-type": "application/octet-stream"}
        answer = client.request("PUT", f"/v2/images/{image_id}/file", content=DATA, headers=headers)
        assert answer.status_code == 204, answer.text
        return image_id
    finally:
        client.close()


@pytest.fixture
def check(invoke: Invoke, database: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OS_STORES__DIRECTORY", str(folder))
    return lambda *options: invoke("store", "check", *options, "--database", database)


def only(folder: Path) -> Path:
    (path,) = (path for path in folder.rglob("*") if path.is_file())
    return path


def plant_surplus(folder: Path) -> Path:
    path = folder / "local" / "objects" / "5a" / ("5a" * 16)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"surplus")
    at = time.time() - OLD
    os.utime(path, (at, at))
    return path


@pytest.mark.usefixtures("image_id")
@pytest.mark.parametrize("options", [(), ("--deep",), ("--repair",)], ids=str)
def test_sound_stores_are_one_line_and_status_0(
    check: Any, database: str, folder: Path, options: tuple[str, ...]
) -> None:
    result = check(*options)

    removed = " Removed: 0." if options == ("--repair",) else ""
    assert result.stdout == (
        f"Compared {locate(parse_url(database)).name} with local (the folder {folder}/local)."
        f" Copies: 1. Objects: 1, 21 bytes.{removed} Faults: 0.\n"
    )
    assert (result.exit_code, result.stderr) == (0, "")


def test_each_fault_is_a_line_and_the_status_is_1(check: Any, folder: Path, image_id: str) -> None:
    path = only(folder)
    path.unlink()
    surplus = plant_surplus(folder)

    result = check()

    *faults, summary = result.stdout.splitlines()
    assert faults == [
        f"store local, object {path.name}: {MISSING} It is of image {image_id}.",
        f"store local, object {surplus.name}: No row refers to the object, which has 7 bytes; --repair removes it.",
    ]
    assert summary.endswith(" Copies: 1. Objects: 1, 7 bytes. Faults: 2.")
    assert result.exit_code == 1
    assert surplus.exists()


@pytest.mark.usefixtures("image_id")
def test_a_repair_removes_what_is_surplus_and_ends_with_status_0(check: Any, folder: Path) -> None:
    surplus = plant_surplus(folder)

    result = check("--repair")

    assert result.stdout.splitlines()[0].endswith("No row refers to the object, which has 7 bytes; it was removed.")
    assert result.stdout.endswith(" Removed: 1. Faults: 0.\n")
    assert result.exit_code == 0
    assert not surplus.exists()
    assert hashlib.md5(only(folder).read_bytes()).digest() == hashlib.md5(DATA).digest()


def test_json_is_one_object_a_fault_and_one_with_the_counts(
    check: Any, folder: Path, image_id: str, database: str
) -> None:
    path = only(folder)
    path.write_bytes(b"X" + DATA[1:])

    result = check("--deep", "--json")

    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {
            "store": "local",
            "key": path.name,
            "images": [image_id],
            "fault": "The bytes are not those that were uploaded, their sha512 differs: restore the object from a"
            " backup.",
            "removed": False,
        },
        {
            "database": locate(parse_url(database)).name,
            "stores": {"local": f"the folder {folder}/local"},
            "copies": 1,
            "objects": 1,
            "bytes": 21,
            "faults": 1,
            "removed": 0,
        },
    ]
    assert result.exit_code == 1


@pytest.mark.usefixtures("image_id")
def test_a_folder_that_is_not_there_is_a_fault_and_is_not_made(check: Any, folder: Path) -> None:
    """Perhaps its disk is not mounted."""
    (folder / "local").rename(folder / "away")

    result = check()

    assert "The store cannot be listed: " in result.stdout
    assert result.exit_code == 1
    assert not (folder / "local").exists()


def test_a_database_of_another_schema_is_refused(invoke: Invoke, new_database: str) -> None:
    result = invoke("store", "check", "--database", new_database)

    assert result.exit_code == 1
    assert "db upgrade" in result.stderr
