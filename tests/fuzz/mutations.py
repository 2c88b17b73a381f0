# SPDX-License-Identifier: Apache-2.0
"""Requests that are nearly right: of every route in the table, changed at random in shape, in values and in bytes."""

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote
from uuid import UUID

from glance_registry.api.routes import ROUTES, Access, Route
from glance_registry.api.v2.patch import MEDIA_TYPES
from glance_registry.model.query import SORT_KEYS

IMAGE = {
    "id": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "name": "natty ä",
    "status": "active",
    "disk_format": "raw",
    "container_format": "bare",
    "size": 7,
    "virtual_size": "9",
    "checksum": "d41d8cd98f00b204e9800998ecf8427e",
    "owner": "tenant",
    "min_disk": 1,
    "min_ram": "2",
    "is_public": "True",
    "protected": False,
    "location": "http://store/1",
    "location_data": [{"url": "file:///2", "metadata": {"a": [1, None]}, "status": "deleted"}],
    "properties": {"arch": "x86_64", "a": ""},
    "created_at": "2011-02-03T04:05:06.000007",
}
NEW = (
    {"image": IMAGE},
    {"image": {**IMAGE, "properties": [{"name": "arch", "value": "x86_64"}, {"key": "a", "value": "b"}]}},
    {"image": {"status": "killed"}, "from_state": "active"},
    {"image": {"disk_format": "raw", "container_format": "bare"}},
)
PLACE = {"url": "http://store/2", "metadata": {}, "validation_data": {"checksum": "0" * 32, "os_hash_algo": "md5"}}
BODIES: dict[str, tuple[Any, ...]] = {
    "POST /images": NEW,
    "PUT /images/{image_id}": NEW,
    "PUT /images/{image_id}/members": (
        {"memberships": [{"member_id": "m", "can_share": True}, {"member_id": "n", "can_share": "no"}]},
    ),
    "PUT /images/{image_id}/members/{member_id}": ({"member": {"can_share": "1"}},),
    "POST /v2/images": (
        {"name": "noble", "visibility": "shared", "tags": ["lts", "lts"], "min_disk": 1, "os_distro": "ubuntu"},
        {"id": IMAGE["id"], "disk_format": "qcow2", "container_format": "bare", "protected": False, "os_hidden": True},
        {"locations": [PLACE], "owner": "tenant"},
    ),
    "PATCH /v2/images/{image_id}": (
        [{"op": "replace", "path": "/name", "value": "jammy"}, {"op": "remove", "path": "/arch"}],
        [{"op": "add", "path": "/tags", "value": ["a", "b"]}, {"op": "add", "path": "/a~1b~0", "value": "c"}],
        [{"op": "add", "path": "/locations/-", "value": PLACE}, {"op": "replace", "path": "/min_ram", "value": 7}],
        [{"replace": "/visibility", "value": "community"}, {"add": "/locations", "value": []}],
    ),
    "POST /v2/images/{image_id}/locations": (PLACE,),
    "POST /v2/images/{image_id}/members": ({"member": "m"},),
    "PUT /v2/images/{image_id}/members/{member_id}": ({"status": "accepted"},),
}
ODD_TEXTS = (
    *("", " ", "\0", "a\0b", "\x7f", "\x1b[31m", "\r\nx: y", "ä", "\u2028", "\U0001f40b", "e\u0301", "%00", "%2F"),
    *("'", '"'),
    *("..", "/", "None", "null", "true", "-1", "1e3", "1_0", "٣", "0x10", "NaN", "x" * 256, "x" * 5_000, "ß" * 300),
    *("9" * 40, "2026-11-23T09:36:08+25:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "\ud800"),
)
ODD_VALUES = (
    *(None, True, False, 0, -1, 1.5, 1e308, 2**31, 2**63, 2**64, 10**400, -(2**70), [], {}, [[]], [{}], {"": None}),
    *({"a": {"b": [1, {"c": None}]}}, ["x"] * 1_000, {f"k{number}": "v" for number in range(200)}),
)
ODD_BYTES = (
    *(b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\r\n", b'"', b"{", b"[" * 200, b"}", b",", b":"),
    *(b"\\u0000", b"\\ud800", b"NaN"),
)
HEADERS = (
    *("x-identity-status", "x-user-id", "x-tenant-id", "x-project-id", "x-roles", "x-glance-registry-purge-props"),
    *("if-match", "if-none-match", "x-forwarded-proto", "host"),
    *("accept", "x-openstack-request-id", "content-type", "content-length", "authorization", "x-auth-token", "range"),
)
PLAIN = (
    *MEDIA_TYPES,
    '"1"',
    "*",
    "Confirmed",
    "admin",
    "tenant",
    "true",
    "application/json",
    "req-1",
    "0",
    "Basic YTpi",
    "bytes=0-1",
)
QUERY = (
    *sorted({name for route in ROUTES for name in route.query}),
    "property-arch",
    "property-",
    "filters",
    "sort",
    "q",
)
QUERY_VALUES = (
    *SORT_KEYS,
    'in:raw,"a,b"',
    "gt:2026-11-23T09:36:08Z",
    "neq:raw",
    "name:asc,size:desc",
    "all",
    "asc",
    "desc",
    "1",
    "25",
    "True",
    "active",
    "raw",
    IMAGE["id"],
    "2026-11-23T09:36:08Z",
)
MEMBERS = ("m", "tenant", "ä")


@dataclass
class Request:
    method: str
    path: str
    """As it is when decoded."""
    query: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def raw(self) -> bytes:
        """As it goes over the wire."""
        target = quote(self.path.encode(errors="surrogatepass"), safe="/").encode()
        lines = [b"%s %s%s%s HTTP/1.1" % (self.method.encode(), target, b"?" * bool(self.query), self.query)]
        headers = [(b"host", b"localhost"), (b"content-length", str(len(self.body)).encode()), *self.headers]
        lines += [name + b": " + value for name, value in headers]
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


IDENTITY = {"x-identity-status": "Confirmed", "x-user-id": "somebody", "x-tenant-id": "tenant", "x-roles": "admin"}
_ASKED = [route for route in ROUTES if route.access is not Access.OPEN]
_OPEN = [route for route in ROUTES if route.access is Access.OPEN]


class Mutator:
    """Makes requests from a seed, the same ones each time, about a few images of its own."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._image_ids = [str(UUID(int=self._random.getrandbits(128))) for _ in range(4)]
        # Taken from the end: one id is asked for twice.
        self._new = [self._image_ids[0], *self._image_ids]

    def request(self) -> Request:
        """A request of some route; in most, something is odd."""
        identity = [(name.encode(), value.encode()) for name, value in IDENTITY.items()]
        if self._new:
            image = {**IMAGE, "id": self._new.pop()}
            return Request("POST", "/images", headers=identity, body=json.dumps({"image": image}).encode())
        route = self._random.choice(_OPEN if self._chance(0.05) else _ASKED)
        image_id = self._random.choice(ODD_TEXTS) if self._chance(0.1) else self._random.choice(self._image_ids)
        member_id = self._random.choice(ODD_TEXTS) if self._chance(0.1) else self._random.choice(MEMBERS)
        parts = {
            "image_id": image_id,
            "member_id": member_id,
            "upload_id": self._random.choice(("0" * 32, *ODD_TEXTS)),
            "store": self._random.choice(("local", *ODD_TEXTS)),
            "tag": self._random.choice((*MEMBERS, *ODD_TEXTS)),
        }
        headers = [self._header() for _ in range(self._random.choice([0, 0, 1, 3]))]
        if route.method == "PATCH" and self._chance(0.9):
            headers.append((b"content-type", self._random.choice(list(MEDIA_TYPES)).encode()))
        return Request(
            self._random.choice(["HEAD", "PATCH", "BREW"]) if self._chance(0.02) else route.method,
            route.path.format(**parts),
            self._query() if self._chance(0.5) else b"",
            [*(identity if self._chance(0.8) else []), *headers],
            self._body(route, image_id),
        )

    def raw(self) -> bytes:
        """The bytes of a request, or nearly."""
        data = self.request().raw()
        for _ in range(self._random.choice([0, 1, 1, 3])):
            data = self._spoil(data)
        return data

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _query(self) -> bytes:
        pairs = []
        for _ in range(self._random.choice([1, 1, 2, 5])):
            name = self._random.choice(ODD_TEXTS if self._chance(0.05) else QUERY)
            value = self._random.choice(ODD_TEXTS if self._chance(0.3) else QUERY_VALUES)
            pairs.append(f"{self._encoded(name)}={self._encoded(value)}")
        query = "&".join(pairs).encode(errors="surrogatepass")
        return self._spoil(query) if self._chance(0.1) else query

    def _encoded(self, text: str) -> str:
        return text if self._chance(0.1) else quote(text.encode(errors="surrogatepass"))

    def _header(self) -> tuple[bytes, bytes]:
        value = self._random.choice(ODD_TEXTS if self._chance(0.3) else PLAIN)
        return self._random.choice(HEADERS).encode(), value.encode(errors="surrogatepass")

    def _body(self, route: Route, image_id: str) -> bytes:
        if route.method in ("GET", "DELETE") and self._chance(0.9):
            return b""
        kind = self._random.choice(list(BODIES)) if self._chance(0.05) else f"{route.method} {route.path}"
        value: Any = json.loads(json.dumps(self._random.choice(BODIES.get(kind, NEW))))
        image = value.get("image", value) if isinstance(value, dict) else {}
        if "id" in image:
            image["id"] = image_id
        for _ in range(self._random.choice([0, 1, 1, 2])):
            value = self._bent(value)
        text = json.dumps(value, ensure_ascii=self._chance(0.5)).encode(errors="surrogatepass")
        return self._spoil(text) if self._chance(0.2) else text

    def _bent(self, value: Any) -> Any:
        """The value with something else somewhere in it."""
        if isinstance(value, dict) and value and self._chance(0.9):
            name = self._random.choice(list(value))
            if self._chance(0.1):
                return {key: inner for key, inner in value.items() if key != name}
            if self._chance(0.1):
                return {**value, self._random.choice(ODD_TEXTS): value[name]}
            return {**value, name: self._bent(value[name])}
        if isinstance(value, list) and value and self._chance(0.7):
            place = self._random.randrange(len(value))
            return [*value[:place], self._bent(value[place]), *value[place + self._random.choice([0, 1]) :]]
        return self._random.choice(ODD_TEXTS if self._chance(0.5) else ODD_VALUES)

    def _spoil(self, data: bytes) -> bytes:
        """Some bytes more, fewer or others."""
        start = self._random.randint(0, len(data))
        end = min(len(data), start + self._random.choice([0, 0, 1, 1, 4, 50]))
        inserted = self._random.choice(ODD_BYTES) if self._chance(0.7) else self._random.randbytes(3)
        return data[:start] + (b"" if self._chance(0.3) else inserted) + data[end:]
