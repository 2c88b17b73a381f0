# SPDX-License-Identifier: Apache-2.0
"""A database URL becomes a catalogue."""

from glance_registry.catalogue.engine import Catalogue, parse_url


def open_catalogue(database_url: str) -> Catalogue:
    """The catalogue at `sqlite:///FILE` or `postgresql://…`; make it on the event loop that will use it.

    Raises Invalid for a URL that we have no driver for, Unavailable when an SQLite file cannot be opened.
    A server is first asked when the first operation runs.
    """
    url = parse_url(database_url)
    # Each engine brings a driver that the other's users need not load: it costs start-up time and memory.
    if url.get_backend_name() == "sqlite":
        from glance_registry.catalogue.sqlite import SqliteCatalogue

        return SqliteCatalogue(url)
    from glance_registry.catalogue.server import ServerCatalogue

    return ServerCatalogue(url)
