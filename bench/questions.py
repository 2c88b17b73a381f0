# SPDX-License-Identifier: Apache-2.0
"""What is asked of a catalogue of any size: pages, filters and single images, and writes."""

from collections.abc import Iterator
from datetime import UTC, timedelta
from itertools import count, cycle
from typing import Any
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from bench.asking import request
from bench.catalogues import HUGE, NEVER_DELETED, RARE, SEED, TENANT, realistic, registered_at, registration
from bench.catalogues import kept as numbered
from bench.working_sets import cold
from glance_registry.model.image import ACTIVE, Image
from glance_registry.model.query import SORT_KEYS

CONTEXT = {"identity": {"mode": "context"}}
"""The settings under which the program believes these headers."""

_CONFIRMED = {"X-Identity-Status": "Confirmed", "X-User-Id": "bench"}
NOBODY: dict[str, str] = {}
MEMBER = {**_CONFIRMED, "X-Tenant-Id": TENANT, "X-Roles": "reader,member"}
ADMIN = {**_CONFIRMED, "X-Tenant-Id": "admin", "X-Roles": "admin"}

_EVERYTHING = {"is_public": "none"}
_CALLERS = {"public": (NOBODY, {}), "project": (MEMBER, {}), "everything": (ADMIN, _EVERYTHING)}
"""Whose lists: public images; own, public and shared ones of a project; an admin's list of all."""

_V2_EVERYTHING = {"visibility": "all"}
_V2_CALLERS = {"public": (NOBODY, {}), "project": (MEMBER, {}), "everything": (ADMIN, _V2_EVERYTHING)}
_V2_KEYS = ("created_at", "name", "size")
"""The indexes are those of the other dialect: three of its keys tell whether they are used."""

PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}

_SAMPLES = 2_000
_BODIES = 500


class Question(Struct, frozen=True):
    """One kind of request. `requests` never end; `name` is the same for every size of the catalogue."""

    name: str
    requests: Iterator[bytes]


def reads(size: int) -> list[Question]:
    """All that is read, of a catalogue of that size."""
    live = [image for image in _sample(size) if not image.deleted]
    cold_ids = _cold_ids(size)
    return [
        _ask("get", ADMIN, [f"/images/{image.id}" for image in live]),
        *(
            _ask(f"page {caller} {key} {place}", headers, [_list(query | {"sort_key": key} | marker)])
            for caller, (headers, query) in _CALLERS.items()
            for key in SORT_KEYS
            for place, marker in (("first", {}), ("middle", {"marker": _in_the_middle(live, key)}))
        ),
        _ask("page public created_at detail", NOBODY, ["/images/detail"]),
        _ask("get cold", ADMIN, [f"/images/{image_id}" for image_id in cold_ids]),
        _ask("page everything created_at cold", ADMIN, [_list(_EVERYTHING | {"marker": each}) for each in cold_ids]),
        _ask("v2 get", ADMIN, [f"/v2/images/{image.id}" for image in live]),
        *(
            _ask(f"v2 page {caller} {key} {place}", headers, [_list_v2(query | {"sort": f"{key}:asc"} | marker)])
            for caller, (headers, query) in _V2_CALLERS.items()
            for key in _V2_KEYS
            for place, marker in (("first", {}), ("middle", {"marker": _in_the_middle(live, key)}))
        ),
        _ask("v2 get cold", ADMIN, [f"/v2/images/{image_id}" for image_id in cold_ids]),
        _ask(
            "v2 page everything created_at cold",
            ADMIN,
            [_list_v2(_V2_EVERYTHING | {"marker": each}) for each in cold_ids],
        ),
        *(
            _ask(f"v2 filter {name}", ADMIN, [_list_v2(_V2_EVERYTHING | query) for query in queries])
            for name, queries in _v2_filters(live).items()
        ),
        *(
            _ask(f"filter {name}", ADMIN, [_list(_EVERYTHING | query) for query in queries])
            for name, queries in _filters(size, live).items()
        ),
    ]


def asked_for(size: int) -> set[str]:
    """The ids of images that a question about a catalogue of that size may name."""
    return {image.id for image in _sample(size)} | {*_cold_ids(size)}


def writes(size: int) -> list[Question]:
    """All that is written, of a catalogue of that size: each request is another one. None registers an image of a
    kind that a question counts on being rare."""
    targets = cycle([image.id for image in _sample(size, SEED, 1) if not image.deleted and not image.protected])
    common = (image for number, image in enumerate(realistic(_BODIES, SEED + 1)) if number not in NEVER_DELETED)
    bodies = cycle([_encode(registration(image)) for image in common])
    posts = (request("POST", "/images", ADMIN, body) for body in bodies)
    puts = (
        request("PUT", f"/images/{image_id}", ADMIN, _encode({"min_disk": 1, "properties": {"touched": str(number)}}))
        for number, image_id in zip(count(), targets, strict=False)
    )
    patches = (
        request("PATCH", f"/v2/images/{image_id}", ADMIN | PATCH, touch(str(number)).encode())
        for number, image_id in zip(count(), targets, strict=False)
    )
    tags = (
        request("PUT", f"/v2/images/{image_id}/tags/touched-{number}", ADMIN)
        for number, image_id in zip(count(), targets, strict=False)
    )
    return [
        Question("post", posts),
        Question("put", puts),
        Question("v2 patch", patches),
        Question("v2 tag", tags),
    ]


def touch(text: str) -> str:
    """A PATCH that gives an image a property with that text, which must need no escape."""
    return f'[{{"op": "add", "path": "/touched", "value": "{text}"}}]'


def _filters(size: int, live: list[Image]) -> dict[str, list[dict[str, str]]]:
    yesterday = registered_at(size) - timedelta(days=1)
    return {
        "name": [{"name": str(image.name)} for image in live],
        "common property": [{"property-os_distro": "ubuntu"}],
        "property of three": [{f"property-{RARE[0]}": RARE[1]}],
        "two properties": [{"property-os_distro": "ubuntu", "property-hw_disk_bus": "scsi"}],
        "two properties that no image shares": [{"property-os_distro": "ubuntu", "property-os_type": "windows"}],
        "status and disk format": [{"status": "queued", "disk_format": "raw"}],
        "size range": [{"size_min": str(2**30), "size_max": str(2 * 2**30)}],
        "size range of forty": [{"size_min": str(HUGE)}],
        "changes since yesterday": [{"changes-since": f"{yesterday.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}],
    }


def _v2_filters(live: list[Image]) -> dict[str, list[dict[str, str]]]:
    return {
        "name": [{"name": str(image.name)} for image in live],
        "common property": [{"os_distro": "ubuntu"}],
        "property of three": [{RARE[0]: RARE[1]}],
        "size range of forty": [{"size_min": str(HUGE)}],
        "words of few": [{"q": str(image.name)} for image in live],
        "words of many": [{"q": "ubuntu"}],
    }


def _sample(size: int, seed: int = SEED, offset: int = 0) -> list[Image]:
    """Images from all over the catalogue, not in the order of their registration."""
    step = max(1, size // _SAMPLES)
    return [numbered((number * 7919 * step + offset) % size, seed).image for number in range(min(size, _SAMPLES))]


def _cold_ids(size: int) -> list[str]:
    """Of odd numbers alone: the other half of a catalogue is deleted in the part `purge`."""
    return [image.id for image in cold(range(1, size, 2))]


def _in_the_middle(live: list[Image], key: str) -> str:
    """The id of a public image about in the middle of that order."""
    listed = [image for image in live if image.is_public and image.status == ACTIVE]
    return sorted(listed, key=lambda image: (getattr(image, key), image.created_at))[len(listed) // 2].id


def _ask(name: str, headers: dict[str, str], paths: list[str]) -> Question:
    return Question(name, cycle([request("GET", path, headers) for path in paths]))


def _list(query: dict[str, str]) -> str:
    return f"/images?{urlencode(query)}"


def _list_v2(query: dict[str, str]) -> str:
    return f"/v2/images?{urlencode(query)}"


def _encode(fields: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"image": fields})
