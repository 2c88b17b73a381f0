# SPDX-License-Identifier: Apache-2.0
"""What Glance 33 made of uploads of every disk format, replayed against ours, with its default settings and with
`require_image_format_match` off.

Each row is three requests: an image is created, its bytes are uploaded, it is shown.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.compat.disks import DISKS
from tests.conftest import Client
from tests.options import make_settings

LINES = [json.loads(line) for line in Path(__file__).with_name("glance33_formats.jsonl").read_text().splitlines()]
SIZES = {line["file"]: line["size"] for line in LINES if "file" in line}
ROWS = {line["name"]: line for line in LINES if "name" in line}
PAGE = Path(__file__).parents[2] / "docs" / "compat.md"
Folders = pytest.TempPathFactory
SERVERS = {"stock": True, "main": False}
"""By whether the format must match."""

REFUSED = (415, {"status": "queued"})

# name of the difference, as in docs/compat.md -> server -> the rows; here each of them is refused
DIFFERENCES: dict[str, dict[str, set[str]]] = {
    "formats that are never safe": {"main": {"a.qed as qcow2"}},
    "several formats at once": {"main": {f"polyglot.bin as {name}" for name in ("iso", "qcow2", "raw")}},
}


@cache
def disk(name: str) -> bytes:
    return DISKS[name](SIZES[name])


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: Folders, sqlite_template: Path
) -> Iterator[tuple[str, Client]]:
    path = tmp_path_factory.mktemp("formats") / "registry.sqlite"
    path.write_bytes(sqlite_template.read_bytes())
    client = Client(make_settings(f"sqlite:///{path}", images__require_image_format_match=SERVERS[request.param]))
    yield request.param, client
    client.close()


@pytest.mark.parametrize("name", ROWS)
def test_an_upload_is_taken_or_refused_as_there(server: tuple[str, Client], name: str) -> None:
    which, client = server
    file, _, formats = name.partition(" as ")
    disk_format, _, container_format = formats.partition(" in ")
    image = client.register(disk_format=disk_format, container_format=container_format or "bare")

    answer = client.request(
        "PUT", image["file"], content=disk(file), headers={"Content-Type": "application/octet-stream"}
    )

    shown = client.get(image["self"]).json()
    after = {field: shown[field] for field in ("status", "size", "virtual_size") if shown[field] is not None}
    wanted = ROWS[name][which]
    is_listed = any(name in rows.get(which, ()) for rows in DIFFERENCES.values())
    there = (wanted["upload"], wanted["after"])
    assert there != REFUSED or not is_listed, "listed, and no difference"
    assert (answer.status_code, after) == (REFUSED if is_listed else there), answer.text


def test_every_row_and_every_difference_is_one_of_the_recording() -> None:
    assert len(ROWS) == 88
    assert SIZES.keys() == DISKS.keys()
    listed = {name for rows in DIFFERENCES.values() for names in rows.values() for name in names}
    assert listed <= ROWS.keys()


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_the_page_for_operators_names_each_difference(difference: str) -> None:
    assert f"**{difference}**" in PAGE.read_text()
