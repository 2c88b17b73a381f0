# SPDX-License-Identifier: Apache-2.0
"""OpenStack Glance, the incumbent: installed, configured, filled with the same images and served.

It comes from PyPI into a virtual environment of its own (`.venv/peer`; `make bench` makes it when --peer is given)
and is served as its documentation recommends: by uWSGI, with the settings of its sample. Where Keystone's middleware
would stand, the headers that it would set are believed, as the program does in mode context: without an identity,
today's Glance answers 403 to everything.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench.catalogues import catalogue
from bench.seeding import Rows, chunks, fill
from bench.servers import Server, free_port, running

HOME = Path(sys.prefix) / "peer"

_TIMES = ["created_at", "updated_at"]
COLUMNS = {
    "images": [
        *("id", "name", "size", "virtual_size", "status", "visibility", "disk_format", "container_format"),
        *("checksum", "owner", "min_disk", "min_ram", "protected", "deleted", "os_hidden", *_TIMES, "deleted_at"),
    ],
    "image_properties": ["image_id", "name", "value", "deleted", *_TIMES],
    "image_locations": ["image_id", "value", "meta_data", "status", "deleted", *_TIMES],
    "image_members": ["image_id", "member", "can_share", "status", "deleted", *_TIMES],
}
_OPTIONS = """
[database]
connection = {database}
[paste_deploy]
config_file = {folder}/paste.ini
[glance_store]
stores = file
default_store = file
filesystem_store_datadir = {folder}
[DEFAULT]
node_staging_uri = file://{folder}
"""
# The sample of Glance's administration guide, "Running Glance in HTTPD", but for the port and the processes.
_UWSGI = """
[uwsgi]
socket-timeout = 10
http-auto-chunked = true
http-chunked-input = true
http-raw-body = true
lazy-apps = true
add-header = Connection: close
buffer-size = 65535
thunder-lock = true
enable-threads = true
exit-on-reload = true
die-on-term = true
master = true
processes = {workers}
http-socket = 127.0.0.1:{port}
module = glance.wsgi.api:application
"""


def grow(database: str, first: int, end: int) -> None:
    """Add the images of these numbers to a database; create Glance's tables in an empty one."""
    if first == 0:
        with tempfile.TemporaryDirectory() as folder:
            _configure(Path(folder), database)
            command = [str(HOME / "bin" / "glance-manage"), "--config-dir", folder, "db", "sync"]
            subprocess.run(command, check=True, capture_output=True)
    fill(database, COLUMNS, chunks(partial(rows, times_as_text=database.startswith("sqlite")), first, end))


def rows(first: int, end: int, *, times_as_text: bool) -> Rows:
    """Glance's rows of the images of these numbers; their members have accepted."""
    made: dict[str, list[tuple[Any, ...]]] = {name: [] for name in COLUMNS}
    for kept in catalogue(first, end):
        image = kept.image
        times = tuple(_time(each, times_as_text) for each in (image.created_at, image.updated_at, image.deleted_at))
        fields = [getattr(image, name) for name in COLUMNS["images"][:13]]
        made["images"].append((*fields, image.deleted, False, *times))
        tail = (image.deleted, *times[:2])
        made["image_properties"] += [(image.id, name, value, *tail) for name, value in image.properties.items()]
        made["image_locations"] += [(image.id, place.url, "{}", place.status, *tail) for place in image.locations]
        made["image_members"] += [(image.id, one.member_id, one.can_share, "accepted", *tail) for one in kept.members]
    return made


@contextmanager
def glance(database: str, folder: Path, workers: int) -> Iterator[Server]:
    """Glance with that many workers, on a port of its own."""
    port = free_port()
    home = folder / f"glance-{port}"
    home.mkdir()
    _configure(home, database)
    (home / "uwsgi.ini").write_text(_UWSGI.format(port=port, workers=workers))
    command = [str(HOME / "bin" / "uwsgi"), "--ini", str(home / "uwsgi.ini"), "--virtualenv", str(HOME)]
    # Its compiled modules came with it.
    variables = {"OS_GLANCE_CONFIG_DIR": str(home), "PYTHONPYCACHEPREFIX": ""}
    with running(Server("glance", command, port, folder / "glance.log", **variables)) as server:
        yield server


def version() -> str:
    """The release of the Glance that is installed."""
    code = "from importlib.metadata import version; print(version('glance'))"
    done = subprocess.run([HOME / "bin" / "python", "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _configure(folder: Path, database: str) -> None:
    given = (HOME / "etc" / "glance" / "glance-api-paste.ini").read_text()
    (folder / "paste.ini").write_text(given.replace(" unauthenticated-context ", " context "))
    connection = database.replace("postgresql:", "postgresql+psycopg2:")
    (folder / "glance-api.conf").write_text(_OPTIONS.format(database=connection, folder=folder))


def _time(instant: datetime | None, as_text: bool) -> datetime | str | None:
    """As Glance's columns have it: without a zone; on SQLite a text."""
    if instant is None:
        return None
    return f"{instant:%Y-%m-%d %H:%M:%S.%f}" if as_text else instant.replace(tzinfo=None)
