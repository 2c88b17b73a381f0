# SPDX-License-Identifier: Apache-2.0
"""Realistic catalogues of any size; the same number and seed give the same images, on any machine."""

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from glance_registry.catalogue import images, schema
from glance_registry.catalogue.engine import Catalogue
from glance_registry.catalogue.open import open_catalogue
from glance_registry.model.image import ACTIVE, Image, Location

SEED = 2011
PROPERTIES = 6
"""Properties that every image has."""

_START = datetime(2022, 1, 1, tzinfo=UTC)
_SECONDS_BETWEEN = 1800.0
"""Mean time from one registration to the next."""

_PROJECTS = 400
_DELETED = 0.10
_BASE = 0.15
"""The share of images that the cloud publishes; the rest are projects' own and their snapshots."""

_SNAPSHOT = 0.6
_IN_ONE_TRANSACTION = 500
_AT_ONCE = 4


class _System(Struct, frozen=True):
    distro: str
    version: str
    kind: str
    gigabytes: float
    """Of a fresh image; a snapshot is larger."""
    weight: int


_SYSTEMS = (
    _System("ubuntu", "24.04", "linux", 0.6, 20),
    _System("ubuntu", "22.04", "linux", 0.6, 25),
    _System("ubuntu", "20.04", "linux", 0.5, 10),
    _System("debian", "12", "linux", 0.4, 12),
    _System("debian", "11", "linux", 0.3, 6),
    _System("rocky", "9", "linux", 1.0, 8),
    _System("centos", "7", "linux", 0.8, 7),
    _System("fedora", "40", "linux", 0.4, 3),
    _System("windows", "2022", "windows", 9.0, 6),
    _System("windows", "2019", "windows", 8.0, 3),
)
_DISK_FORMATS = (("qcow2", 70), ("raw", 22), ("vmdk", 6), ("vhd", 2))
_STATUSES = ((ACTIVE, 960), ("queued", 20), ("saving", 5), ("killed", 15))
_ARCHITECTURES = (("x86_64", 90), ("aarch64", 10))
_DISK_BUSES = (("virtio", 60), ("scsi", 35), ("sata", 5))
_NETWORK_CARDS = (("virtio", 92), ("e1000", 8))
_ROLES = ("web", "db", "cache", "build", "worker", "gateway", "mail", "batch", "proxy", "log")


def realistic(count: int, seed: int = SEED) -> Iterator[Image]:
    """That many images, in the order of their registration."""
    choice = random.Random(seed)
    projects = [f"{choice.getrandbits(128):032x}" for _ in range(_PROJECTS)]
    created_at = _START
    for number in range(count):
        created_at += timedelta(microseconds=round(1e6 * choice.expovariate(1 / _SECONDS_BETWEEN)))
        yield _image(choice, number, projects, created_at)


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


async def seed(database: str, count: int) -> None:
    """Create the tables, where they are not there yet, and register that many realistic images."""
    await schema.upgrade(database)
    catalogue = open_catalogue(database)
    batches = _batches(realistic(count))
    try:
        await asyncio.gather(*(_add_batches(catalogue, batches) for _ in range(_AT_ONCE)))
    finally:
        await catalogue.close()


async def _add_batches(catalogue: Catalogue, batches: Iterator[list[Image]]) -> None:
    for batch in batches:
        await catalogue.write(images.add_all, [images.Kept(image) for image in batch])


def _batches(source: Iterator[Image]) -> Iterator[list[Image]]:
    while batch := list(islice(source, _IN_ONE_TRANSACTION)):
        yield batch


def _image(choice: random.Random, number: int, projects: list[str], created_at: datetime) -> Image:
    base, snapshot = choice.random() < _BASE, choice.random() < _SNAPSHOT
    system = choice.choices(_SYSTEMS, [system.weight for system in _SYSTEMS])[0]
    image_id = str(UUID(int=choice.getrandbits(128), version=4))
    gigabytes = system.gigabytes * choice.lognormvariate(0 if base or not snapshot else 2, 0.4)
    status = ACTIVE if base else _weighted(choice, _STATUSES)
    updated_at = created_at + timedelta(seconds=choice.randrange(5, 900))
    stored = status == ACTIVE
    # A power law: few projects own most images.
    owner = projects[0] if base else projects[int(_PROJECTS * choice.random() ** 3)]
    image = Image(
        id=image_id,
        created_at=created_at,
        updated_at=updated_at,
        name=_name(choice, number, system, base, snapshot, created_at),
        status=status,
        visibility="public" if base or choice.random() < 0.05 else "shared",
        disk_format=_weighted(choice, _DISK_FORMATS),
        container_format="bare",
        size=int(gigabytes * 2**30) if stored else None,
        virtual_size=20 * 2**30 if stored else None,
        checksum=f"{choice.getrandbits(128):032x}" if stored else None,
        owner=owner,
        min_disk=choice.choice((0, 5, 10, 20, 40)),
        min_ram=choice.choice((0, 512, 1024, 2048, 4096)),
        protected=base,
        properties=_properties(choice, system, snapshot and not base),
        locations=(Location(f"file:///var/lib/glance/images/{image_id}", id=1),) if stored else (),
    )
    return image if base or choice.random() >= _DELETED else _deleted(choice, image)


def _name(choice: random.Random, number: int, system: _System, base: bool, snapshot: bool, created_at: datetime) -> str:
    day = f"{created_at:%Y%m%d}"
    if base:
        return f"{system.distro}-{system.version}-cloudimg-amd64-{day}"
    role = choice.choice(_ROLES)
    if snapshot:
        return f"{role}-{choice.randrange(100):02d}-snapshot-{day}-{number}"
    return f"{role}-golden-{system.distro}{system.version}-{number}"


def _properties(choice: random.Random, system: _System, snapshot: bool) -> dict[str, str]:
    """`PROPERTIES` of them, as Nova and operators set them."""
    common = {
        "os_distro": system.distro,
        "os_version": system.version,
        "architecture": _weighted(choice, _ARCHITECTURES),
        "hw_disk_bus": _weighted(choice, _DISK_BUSES),
    }
    if snapshot:
        instance = str(UUID(int=choice.getrandbits(128), version=4))
        return {**common, "image_type": "snapshot", "instance_uuid": instance}
    return {**common, "hw_vif_model": _weighted(choice, _NETWORK_CARDS), "os_type": system.kind}


def _deleted(choice: random.Random, image: Image) -> Image:
    """The same image as the registry keeps it after a DELETE, some days later."""
    deleted_at = image.updated_at + timedelta(minutes=choice.randrange(1, 60 * 24 * 60))
    return replace(image, deleted_at=deleted_at, updated_at=deleted_at, properties={}, locations=(), version=2)


def _weighted(choice: random.Random, options: tuple[tuple[str, int], ...]) -> str:
    return choice.choices([option for option, _ in options], [weight for _, weight in options])[0]
