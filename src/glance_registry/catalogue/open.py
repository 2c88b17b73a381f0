# SPDX-License-Identifier: Apache-2.0
"""A database URL becomes a catalogue."""

from sqlalchemy import URL

from glance_registry.catalogue.base import READ_SECONDS, Catalogue
from glance_registry.catalogue.causes import locate
from glance_registry.catalogue.database_url import parse_url
from glance_registry.model.errors import Invalid


def read_urls(database_url: str, replica_url: str) -> tuple[URL, URL | None]:
    """Parse both URLs. The second is None if it is empty. Raises Invalid."""
    url = parse_url(database_url)
    if not replica_url:
        return url, None
    replica = parse_url(replica_url)
    if {url.get_backend_name(), replica.get_backend_name()} != {"postgresql"}:
        raise Invalid("Only PostgreSQL has replicas: leave replica_connection empty, or name a postgresql:// database.")
    return url, replica


def open_catalogue(database_url: str, replica_url: str = "", read_seconds: float = READ_SECONDS) -> Catalogue:
    """Open the catalogue at `sqlite:///FILE` or `postgresql://…`, on the event loop that will use it.

    Raises Invalid for another URL, Unavailable when an SQLite file cannot be opened. A server is first connected to
    by the first operation. `read_seconds` is how long a read may take.
    """
    url, replica = read_urls(database_url, replica_url)
    # Only the driver in use is loaded: a driver costs start-up time and memory.
    if url.get_backend_name() == "sqlite":
        from glance_registry.catalogue.sqlite.catalogue import SqliteCatalogue

        catalogue: Catalogue = SqliteCatalogue(url, read_seconds)
    else:
        from glance_registry.catalogue.postgresql.catalogue import Limits, ServerCatalogue

        catalogue = ServerCatalogue(url, Limits(read_seconds=read_seconds), replica=replica)
    catalogue.database = locate(url)
    return catalogue
