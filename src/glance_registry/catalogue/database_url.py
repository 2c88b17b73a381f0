# SPDX-License-Identifier: Apache-2.0
"""Database URLs: SQLAlchemy's form, and libpq's for several servers.

Source: PostgreSQL's manual, libpq, "Connection URIs" and "Specifying Multiple Hosts".
"""

import re

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from glance_registry.model.errors import Invalid

_SEVERAL = re.compile(r"(?i)^(postgresql(?:\+\w+)?://(?:[^:/]*(?::[^@]*)?@)?)([^/?]*,[^/?]*)(.*)$", re.DOTALL)

_HOST = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^:\[\]]+)(?::([0-9]+))?")
"""A host, an IPv6 address among them in brackets, or the folder of a socket; and perhaps a port."""


def read_url(text: str) -> URL:
    """The URL; its hosts, when they are several or in the query, become `?host=h1:5432&host=h2:5432`.

    Raises ValueError or SQLAlchemy's ArgumentError when it cannot be read.
    """
    found = _SEVERAL.match(text)
    url = make_url(found[1] + found[3] if found else text)
    hosts = found[2].split(",") if found else _listed(url, "host")
    if not hosts or url.get_backend_name() != "postgresql":
        return url
    ports = _listed(url, "port")
    if len(ports) == 1:
        ports *= len(hosts)
    if ports:
        hosts = [f"{host}:{port}" for host, port in zip(hosts, ports, strict=True)]
    for host in hosts:
        _place(host)
    return url.difference_update_query(["port"]).update_query_dict({"host": hosts})


def places(url: URL) -> list[tuple[str | None, int | None]]:
    """Host and port of each server of a URL that was read.

    None leaves the choice to the driver: a socket of this machine, port 5432.
    """
    return [_place(host) for host in _listed(url, "host")] or [(url.host, url.port)]


def _listed(url: URL, name: str) -> list[str]:
    given = url.query.get(name, ())
    return [part for text in ([given] if isinstance(given, str) else given) for part in text.split(",")]


def _place(text: str) -> tuple[str | None, int | None]:
    found = _HOST.fullmatch(text)
    port = int(found[2]) if found and found[2] else None
    if found is None or (port is not None and not 0 < port < 65_536):
        raise ValueError("not a host and a port")
    return found[1].strip("[]"), port


def parse_url(text: str) -> URL:
    """A database URL as SQLAlchemy knows it, with the driver that we use. Raises Invalid when we have none."""
    try:
        url = read_url(text)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number.
        # The text may hold a password: it is not repeated.
        raise Invalid("The database URL cannot be read; write sqlite:///FILE or postgresql://USER@HOST/NAME.") from None
    kind = url.get_backend_name()
    if kind == "sqlite":
        if not url.database or url.database == ":memory:":
            raise Invalid("An SQLite database must be a file: sqlite:///FILE.")
        return url.set(drivername="sqlite")
    if kind == "postgresql":
        return url.set(drivername="postgresql+asyncpg")
    raise Invalid(f"There is no support for the database '{kind}'; use sqlite or postgresql.")
