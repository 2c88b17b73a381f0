# SPDX-License-Identifier: Apache-2.0
"""What atheris runs, in a process of its own: python targets.py TARGET [libFuzzer options]. A parser takes any bytes or
raises one of our errors; whatever else it raises ends the process."""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote

import atheris
import msgspec

with atheris.instrument_imports(include=["glance_registry", "urllib"]):
    from tests.catalogue.examples import NOON

    from glance_registry.api import asgi
    from glance_registry.api.identity import http_basic
    from glance_registry.api.registry import headers, member_wire, query, wire
    from glance_registry.cli import export_format
    from glance_registry.model.access import ANYONE_IS_ADMIN
    from glance_registry.model.contract import CACTUS, QUEENS
    from glance_registry.model.errors import RegistryError
    from glance_registry.model.query import Query


def read_bodies(data: bytes) -> None:
    """Of an image; what is accepted can be shown, in headers and in JSON, and is read again alike."""
    given_id, wanted = wire.read_new(data, QUEENS)
    image = wanted.create(given_id or "one", NOON)
    shown = wire.shown(image, with_locations=True)
    for name, value in headers.image_headers(shown, len(wire.one_json(shown))):
        assert not any(byte < 32 or byte == 127 for byte in name + value)
    _, again = wire.read_new(json.dumps({"image": wire_form(shown)}).encode(), QUEENS)
    assert again.create(given_id or "one", NOON) == image


def wire_form(shown: wire.ShownImage) -> object:
    return json.loads(msgspec.json.encode(shown)) | {"id": None}


def read_changes(data: bytes) -> None:
    wire.read_change(data, "one", purge_properties=bool(data[:1] == b"{"))


def read_members(data: bytes) -> None:
    member_wire.read_memberships(data)


def read_member(data: bytes) -> None:
    member_wire.read_can_share(data)


def read_query(data: bytes) -> None:
    found = query.read_query(data, ANYONE_IS_ADMIN, CACTUS, 25, 1000)
    assert isinstance(found, Query)
    assert 0 <= found.page.limit <= 1000


def read_headers(data: bytes) -> None:
    """The headers that we look into ourselves."""
    scope = {"path": "/images", "headers": [(b"x-openstack-request-id", data), (b"accept", data)]}
    asgi._accept(scope)
    request_id = asgi._request_id(scope)
    assert request_id.isascii()
    assert quote(request_id.decode(), safe=":") == request_id.decode()
    http_basic._read_basic(data.decode("latin-1"))


def read_lines(data: bytes) -> None:
    export_format.read_line(data, CACTUS, lambda: NOON, lambda: "one")


TARGETS: dict[str, Callable[[bytes], None]] = {
    function.__name__: function
    for function in (read_bodies, read_changes, read_members, read_member, read_query, read_headers, read_lines)
}


def run() -> None:
    target = TARGETS[sys.argv.pop(1)]

    def one(data: bytes) -> None:
        with suppress(RegistryError):
            target(data)

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    run()
