# SPDX-License-Identifier: Apache-2.0
"""The program beside the incumbent: the same images, callers, workers, connections and rounds."""

import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bench import glance, servers
from bench.catalogues import SEED, TENANT, realistic, registration
from bench.catalogues import kept as numbered
from bench.databases import Databases
from bench.load import SERIAL, Load, apply
from bench.measures import Options, Report, Round, compare
from bench.questions import ADMIN, CONTEXT, MEMBER, PATCH, touch
from bench.servers import Server
from bench.working_sets import cold
from glance_registry.model.image import Image

WORKERS = 2
CONNECTIONS = 16
LARGEST = 100_000
"""Larger catalogues are left out: a page of Glance's takes seconds then, and to fill its tables takes many minutes."""

_WARM_UP_SECONDS = 0.5
_SAMPLES = 1_000
_BODIES = 500


class Case(Struct, frozen=True):
    """One kind of request, in the words of either program."""

    headers: dict[str, str]
    ours: list[str]
    theirs: list[str]
    our_bodies: list[str] = []
    their_bodies: list[str] = []
    method: str = "GET"
    changes: bool = False
    """Of images that are there: on SQLite, Glance can only be asked for one at a time."""
    connections: int = CONNECTIONS
    """Of either program."""


def measure(kept: Databases, folder: Path, options: Options) -> Report:
    """Every case at every size, the two in turn."""
    if not glance.HOME.exists():
        raise SystemExit("bench: Glance is not installed: run make .venv/peer.stamp")
    theirs = kept.other("glance", glance.grow)
    started = time.perf_counter()
    sizes = [size for size in options.scale if size <= LARGEST]
    theirs.prepare(sizes)
    options.say(f"Glance's catalogues took {time.perf_counter() - started:.0f} s; rates are ours, then Glance's")
    report: Report = {"version": glance.version(), "workers": WORKERS, "connections": CONNECTIONS, "sizes": {}}
    for size in sizes:
        with ExitStack() as stack:
            our_url, their_url = kept.create(size), theirs.create(size)
            stack.callback(kept.drop, our_url)
            stack.callback(theirs.drop, their_url)
            us = stack.enter_context(servers.subject(our_url, folder, CONTEXT, WORKERS))
            them = stack.enter_context(glance.glance(their_url, folder, WORKERS))
            us.wait()
            them.wait()
            on_file = their_url.startswith("sqlite")
            report["sizes"][str(size)] = {
                name: _measure(f"{name} at {size}", case, (us, them), options, one_by_one=case.changes and on_file)
                for name, case in _cases(size).items()
            }
    return report


def _measure(name: str, case: Case, pair: tuple[Server, Server], options: Options, *, one_by_one: bool) -> Report:
    """`one_by_one`: Glance gets one connection, as it answers 500 when two changes meet ("database is locked")."""
    us, them = pair
    serials = count(0, 10_000_000)
    ours = Load(
        method=case.method,
        paths=case.ours,
        bodies=case.our_bodies,
        headers=case.headers,
        connections=case.connections,
        seconds=options.seconds,
    )
    theirs = replace(ours, paths=case.theirs, bodies=case.their_bodies, closes=True)
    if one_by_one:
        theirs = replace(theirs, connections=1)
    pairs = [(ours, us), (theirs, them)]
    for load, server in pairs:
        _run(replace(load, seconds=_WARM_UP_SECONDS), server, next(serials))
    rounds = []
    for _ in range(options.rounds):
        rounds.append([_run(load, server, next(serials)) for load, server in pairs])
        options.say(f"{name:32} {rounds[-1][0].rate:8.0f}/s {rounds[-1][1].rate:8.1f}/s")
    return compare(rounds, "glance")


def _run(load: Load, server: Server, serial: int) -> Round:
    before = server.cpu()
    outcome = apply(replace(load, port=server.port, first_serial=serial))
    return Round(outcome, server.cpu() - before)


def _cases(size: int) -> dict[str, Case]:
    step = max(1, size // _SAMPLES)
    sample = [numbered(number * 7919 * step % size).image for number in range(min(size, _SAMPLES))]
    public = [image for image in sample if image.is_public and not image.deleted]
    bodies = [image for image in realistic(_BODIES, SEED + 1) if not image.deleted]
    ours = [_encode({"image": {**registration(image), **_new(image), "is_public": False}}) for image in bodies]
    theirs = [_encode({**_fields(image), **_new(image), **image.properties}) for image in bodies]
    shown = [f"/v2/images/{image.id}" for image in public]
    changed = [f"/v2/images/{image.id}" for image in sample if not (image.deleted or image.protected)]
    tagged = [f"{path}/tags/touched-{SERIAL}" for path in changed]
    page = ["/v2/images?limit=25"]
    changes = {
        "patch": Case(ADMIN | PATCH, changed, changed, [touch(SERIAL)], [touch(SERIAL)], "PATCH", changes=True),
        "tag": Case(ADMIN, tagged, tagged, method="PUT", changes=True),
    }
    return {
        "show": Case(MEMBER, [f"/images/{image.id}" for image in public], shown),
        "page of a project": Case(MEMBER, ["/images/detail?limit=25"], page),
        "page of everything": Case(ADMIN, ["/images/detail?limit=25&is_public=none"], page),
        "page by property": Case(
            MEMBER, ["/images/detail?limit=25&property-os_distro=ubuntu"], [f"{page[0]}&os_distro=ubuntu"]
        ),
        "page by name": Case(
            MEMBER,
            [f"/images/detail?limit=25&name={image.name}" for image in public],
            [f"{page[0]}&name={image.name}" for image in public],
        ),
        "create": Case(MEMBER, ["/images"], ["/v2/images"], ours, theirs, "POST"),
        "Images API: show": Case(MEMBER, shown, shown),
        "Images API: page of a project": Case(MEMBER, page, page),
        "Images API: page of everything": Case(ADMIN, page, page),
        "Images API: create": Case(MEMBER, ["/v2/images"], ["/v2/images"], theirs, theirs, "POST"),
        **{f"Images API: {name}": case for name, case in changes.items()},
        **{f"Images API: {name}, one connection each": replace(case, connections=1) for name, case in changes.items()},
        **_cold_cases(size),
    }


def _cold_cases(size: int) -> dict[str, Case]:
    """Images and pages from all over the catalogue, which no cache holds. Those above are asked for a few, that do fit
    in caches."""
    live = cold(range(size))
    public = [image.id for image in live if image.is_public]
    shown = [f"/v2/images/{image.id}" for image in live]
    of_project = [f"/v2/images?limit=25&marker={image_id}" for image_id in public]
    of_all = [f"/v2/images?limit=25&marker={image.id}" for image in live]
    detail = "/images/detail?limit=25"
    return {
        "show, cold": Case(ADMIN, [f"/images/{image.id}" for image in live], shown),
        "page of a project, cold": Case(MEMBER, [f"{detail}&marker={image_id}" for image_id in public], of_project),
        "page of everything, cold": Case(
            ADMIN, [f"{detail}&is_public=none&marker={image.id}" for image in live], of_all
        ),
        "Images API: show, cold": Case(ADMIN, shown, shown),
        "Images API: page of a project, cold": Case(MEMBER, of_project, of_project),
        "Images API: page of everything, cold": Case(ADMIN, of_all, of_all),
    }


def _new(image: Image) -> dict[str, Any]:
    """What a project's member may register."""
    return {"name": f"{image.name}-{SERIAL}", "owner": TENANT, "protected": False}


def _fields(image: Image) -> dict[str, Any]:
    names = ("disk_format", "container_format", "min_disk", "min_ram")
    return {name: getattr(image, name) for name in names}


def _encode(body: dict[str, Any]) -> str:
    return msgspec.json.encode(body).decode()
