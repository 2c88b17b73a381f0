# SPDX-License-Identifier: Apache-2.0
"""Realistic catalogues of any size, the same on every run and machine.

Each image follows from its number alone: a larger catalogue begins with the smaller one, and any image can be had
without those before it.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from glance_registry.catalogue.images import ImageRecord
from glance_registry.model.image import ACTIVE, PUBLIC, SHARED, Image, Location
from glance_registry.model.member import Member

SEED = 2011
PROPERTIES = 6
"""Properties that every image has until it is deleted."""

SMALLEST = 1_350
"""A catalogue of this size has all the images that measures ask for by what follows."""

TENANT = "7e5a0c3b1d2f4e6980a1b2c3d4e5f607"
"""A project that owns ten images and has fifteen others shared with it."""

RARE = ("golden", "2022")
"""A property that three images have."""

HUGE = 2**40
"""Forty images have at least this many bytes."""

_OWN, _SHARED = range(5, 970, 97), range(3, 1325, 89)
_RARE, _HUGE = range(50, 900, 300), range(7, 1000, 25)
NEVER_DELETED = frozenset((*_OWN, *_SHARED, *_RARE, *_HUGE))
"""The numbers of images that are never deleted."""

_START = datetime(2022, 1, 1, tzinfo=UTC)
_SECONDS_BETWEEN = 120
"""From one registration to the next: a million take nearly four years."""

_PROJECTS = [f"{random.Random(SEED + number).getrandbits(128):032x}" for number in range(400)]
_DELETED = 0.10
_MINUTES_TO_DELETION = 5 * 24 * 60
_BASE = 0.15
"""The share of images that the cloud publishes; the rest are projects' own and their snapshots."""

_SNAPSHOT = 0.6
_WITH_MEMBERS = 0.03


class _System(Struct, frozen=True):
    distro: str
    version: str
    kind: str
    gigabytes: float
    """Of a fresh image; a snapshot is larger."""


class _Choice:
    """One of several, some more often than others."""

    def __init__(self, weights: dict[Any, int]) -> None:
        self._options = list(weights)
        self._up_to = list(accumulate(weights.values()))

    def draw(self, chance: random.Random) -> Any:
        return chance.choices(self._options, cum_weights=self._up_to)[0]


_SYSTEMS = _Choice(
    {
        _System("ubuntu", "24.04", "linux", 0.6): 20,
        _System("ubuntu", "22.04", "linux", 0.6): 25,
        _System("ubuntu", "20.04", "linux", 0.5): 10,
        _System("debian", "12", "linux", 0.4): 12,
        _System("debian", "11", "linux", 0.3): 6,
        _System("rocky", "9", "linux", 1.0): 8,
        _System("centos", "7", "linux", 0.8): 7,
        _System("fedora", "40", "linux", 0.4): 3,
        _System("windows", "2022", "windows", 9.0): 6,
        _System("windows", "2019", "windows", 8.0): 3,
    }
)
_DISK_FORMATS = _Choice({"qcow2": 70, "raw": 22, "vmdk": 6, "vhd": 2})
_STATUSES = _Choice({ACTIVE: 960, "queued": 20, "saving": 5, "killed": 15})
_ARCHITECTURES = _Choice({"x86_64": 90, "aarch64": 10})
_DISK_BUSES = _Choice({"virtio": 60, "scsi": 35, "sata": 5})
_NETWORK_CARDS = _Choice({"virtio": 92, "e1000": 8})
_ROLES = ("web", "db", "cache", "build", "worker", "gateway", "mail", "batch", "proxy", "log")


def catalogue(first: int, end: int, seed: int = SEED) -> Iterator[ImageRecord]:
    """The images of these numbers and their members, in the order of their registration."""
    return (kept(number, seed) for number in range(first, end))


def realistic(count: int, seed: int = SEED) -> Iterator[Image]:
    """That many images, in the order of their registration."""
    return (kept(number, seed).image for number in range(count))


def registered_at(number: int) -> datetime:
    """Just before the image of that number is registered."""
    return _START + timedelta(seconds=_SECONDS_BETWEEN * number)


def kept(number: int, seed: int = SEED) -> ImageRecord:
    """One image and its members."""
    chance = random.Random(seed * 1_000_000_007 + number)
    image = _image(chance, number)
    if number not in NEVER_DELETED and not image.protected and chance.random() < _DELETED:
        return ImageRecord(_deleted(chance, image))
    members = chance.choices(_PROJECTS) if chance.random() < _WITH_MEMBERS else []
    image = _named_by_measures(image, number)
    names = sorted({*((TENANT,) if number in _SHARED else ()), *members} - {image.owner})
    return ImageRecord(image, tuple(Member(member_id=name, can_share=False) for name in names))


def registration(image: Image) -> dict[str, Any]:
    """What a client of the Registry API sends to register such an image; the registry makes the id."""
    return {
        "name": image.name,
        "status": image.status,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "size": image.size,
        "checksum": image.checksum,
        "owner": image.owner,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "is_public": image.is_public,
        "protected": image.protected,
        "properties": image.properties,
    }


def _image(chance: random.Random, number: int) -> Image:
    base, snapshot = chance.random() < _BASE, chance.random() < _SNAPSHOT
    system = _SYSTEMS.draw(chance)
    image_id = str(UUID(int=chance.getrandbits(128), version=4))
    created_at = registered_at(number) + timedelta(microseconds=chance.randrange(1, _SECONDS_BETWEEN * 10**6))
    gigabytes = system.gigabytes * chance.lognormvariate(0 if base or not snapshot else 2, 0.4)
    status = ACTIVE if base else _STATUSES.draw(chance)
    stored = status == ACTIVE
    # A power law: few projects own most images.
    owner = _PROJECTS[0 if base else int(len(_PROJECTS) * chance.random() ** 3)]
    return Image(
        id=image_id,
        created_at=created_at,
        updated_at=created_at + timedelta(seconds=chance.randrange(5, 900)),
        name=_name(chance, number, system, base, snapshot),
        status=status,
        visibility=PUBLIC if base or chance.random() < 0.05 else SHARED,
        disk_format=_DISK_FORMATS.draw(chance),
        container_format="bare",
        size=int(gigabytes * 2**30) if stored else None,
        virtual_size=20 * 2**30 if stored else None,
        checksum=f"{chance.getrandbits(128):032x}" if stored else None,
        owner=owner,
        min_disk=chance.choice((0, 5, 10, 20, 40)),
        min_ram=chance.choice((0, 512, 1024, 2048, 4096)),
        protected=base,
        properties=_properties(chance, system, snapshot and not base),
        locations=(Location(f"file:///var/lib/glance/images/{image_id}", id=1),) if stored else (),
    )


def _name(chance: random.Random, number: int, system: _System, base: bool, snapshot: bool) -> str:
    day = f"{registered_at(number):%Y%m%d}"
    if base:
        return f"{system.distro}-{system.version}-cloudimg-amd64-{day}"
    role = chance.choice(_ROLES)
    if snapshot:
        return f"{role}-{chance.randrange(100):02d}-snapshot-{day}-{number}"
    return f"{role}-golden-{system.distro}{system.version}-{number}"


def _properties(chance: random.Random, system: _System, snapshot: bool) -> dict[str, str]:
    """`PROPERTIES` of them, as Nova and operators set them."""
    common = {
        "os_distro": system.distro,
        "os_version": system.version,
        "architecture": _ARCHITECTURES.draw(chance),
        "hw_disk_bus": _DISK_BUSES.draw(chance),
    }
    if snapshot:
        instance = str(UUID(int=chance.getrandbits(128), version=4))
        return {**common, "image_type": "snapshot", "instance_uuid": instance}
    return {**common, "hw_vif_model": _NETWORK_CARDS.draw(chance), "os_type": system.kind}


def _deleted(chance: random.Random, image: Image) -> Image:
    """The same image as the registry keeps it after a DELETE, some hours or days later."""
    deleted_at = image.updated_at + timedelta(minutes=chance.randrange(1, _MINUTES_TO_DELETION))
    return replace(image, deleted_at=deleted_at, updated_at=deleted_at, properties={}, locations=(), version=2)


def _named_by_measures(image: Image, number: int) -> Image:
    """The image, or, for a few numbers, what makes it one of those that the measures ask for."""
    if number in _OWN:
        image = replace(image, owner=TENANT, visibility=SHARED, protected=False)
    if number in _SHARED:
        image = replace(image, visibility=SHARED, protected=False)
    if number in _RARE:
        image = replace(image, properties={**image.properties, RARE[0]: RARE[1]})
    if number in _HUGE:
        image = replace(image, size=HUGE + number)
    return image
