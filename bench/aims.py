# SPDX-License-Identifier: Apache-2.0
"""What is aimed at, and whether the figures of a report meet it."""

import re
from collections.abc import Callable, Iterator
from typing import Any

Report = dict[str, Any]

GET_OF_CEILING = 0.55
GAIN_OF_MANY_WRITERS = 3.0
IDLE_MIB = 80.0
SECONDS_TO_START = 1.0
MILLION_TO_SMALLEST = 1.5
FILE_OF_A_MILLION = 1.5e9
SECONDS_TO_IMPORT, IMPORTED = 60.0, 100_000
CHURNED_TO_UNTOUCHED = 1.5
LONGEST_BESIDE_PURGE = 1_000.0
EXPORT_MEMORY_TO_SMALLEST = 1.2
TRANSFER_TO_FLOOR = {"upload": 0.85, "download": 0.9}
TRANSFER_TO_GLANCE = 1.4
TRANSFER_PEAK_MIB = 200.0
GET_BESIDE_TRANSFERS = 3.0
PEER_SIZE = 100_000
TO_PEER = {
    "show": 25.0,
    "page of a project": 200.0,
    "page of everything": 200.0,
    "create": 50.0,
    "Images API: show": 25.0,
    "Images API: page of a project": 200.0,
    "Images API: page of everything": 200.0,
    "Images API: create": 50.0,
    "Images API: patch": 50.0,
    "Images API: tag": 50.0,
}

COLD = " cold"
"""The end of the names of questions for ever other images: these have lines of their own among the aims."""

NO_AIM = ("filter two properties that no image shares", "v2 filter words of many")
"""Costs that are known to grow with the catalogue: docs/decisions.md."""


def aims(parts: Report) -> list[Report]:
    """Every aim that these parts say something of."""
    made = ((part, figures, _OF_PART.get(part.partition("-")[2])) for part, figures in parts.items())
    return [aim for part, figures, make in made if make for aim in make(part, figures)]


def _of_get(part: str, figures: Report) -> Iterator[Report]:
    cold = figures.get("cold", figures)  # A report that is older than the working sets is of such a one alone.
    yield _aim(part, "rate of the ceiling's", cold["ratio"]["median"], at_least=GET_OF_CEILING)


def _of_post(part: str, figures: Report) -> Iterator[Report]:
    yield _aim(part, "rate of 64 clients to one's", figures["gain"]["subject"]["median"], at_least=GAIN_OF_MANY_WRITERS)


def _of_start(part: str, figures: Report) -> Iterator[Report]:
    for state in ("existing", "new"):
        if state in figures:
            yield _aim(part, f"seconds, {state} database", figures[state]["median"], at_most=SECONDS_TO_START)


def _of_idle(part: str, figures: Report) -> Iterator[Report]:
    yield _aim(part, "MiB (PSS)", figures["pss_mib"], at_most=IDLE_MIB)


def _of_scale(part: str, figures: Report) -> Iterator[Report]:
    smallest, largest = str(figures["sizes"][0]), str(figures["sizes"][-1])
    if smallest != largest:
        for name, ratio in grown(figures["reads"], largest).items():
            what = f"{name}: wait at {int(largest):,} images to that at {int(smallest):,}"
            yield _aim(part, what, ratio, at_most=MILLION_TO_SMALLEST)
    if "file_bytes" in figures:
        measured = round(1e6 * figures["file_bytes"][largest] / int(largest))
        yield _aim(
            part, f"bytes of file for a million images, from {int(largest):,}", measured, at_most=FILE_OF_A_MILLION
        )


def grown(reads: Report, size: str) -> dict[str, float]:
    """How much longer a caller waits at a size than at the smallest; of the pages of a caller, the worst order."""
    ratios = {name: each["ratio"][size]["median"] for name, each in reads.items() if name not in NO_AIM}
    worst: dict[str, float] = {}
    for name, ratio in ratios.items():
        pages = re.match(r"(v2 )?page \w+", name)
        group = f"{pages[0]}, worst order" if pages and not name.endswith(COLD) else name
        worst[group] = max(ratio, worst.get(group, 0.0))
    return worst


def _of_purge(part: str, figures: Report) -> Iterator[Report]:
    for state, reads in figures["reads"].items():
        worst, question = max((ratio, name) for name, ratio in grown(reads, state).items())
        what = f"{state}, of {figures['size']:,}: wait to that before, the worst ({question})"
        yield _aim(part, what, worst, at_most=CHURNED_TO_UNTOUCHED)
    longest = figures["writer"]["beside_purge"]["longest"]
    yield _aim(part, "milliseconds, longest wait of a writer beside the purge", longest, at_most=LONGEST_BESIDE_PURGE)


def _of_move(part: str, figures: Report) -> Iterator[Report]:
    if str(IMPORTED) in figures["import"]:
        seconds = figures["import"][str(IMPORTED)]["seconds"]
        yield _aim(part, f"seconds to import {IMPORTED:,} images", seconds, at_most=SECONDS_TO_IMPORT)
    peaks = [each["peak_rss_mib"] for each in figures["export"].values()]
    ratio = round(peaks[-1] / peaks[0], 2)
    yield _aim(part, "export: peak memory, largest to smallest", ratio, at_most=EXPORT_MEMORY_TO_SMALLEST)


def _of_peer(part: str, figures: Report) -> Iterator[Report]:
    at = figures["sizes"].get(str(PEER_SIZE))
    if part.startswith("sqlite") and at:
        for name, aim in TO_PEER.items():
            if name in at:  # Not in a report that is older than the case.
                ratio = at[name]["ratio"]["median"]
                yield _aim(part, f"{name} at {PEER_SIZE:,}: rate to Glance's", ratio, at_least=aim)


def _of_transfers(part: str, figures: Report) -> Iterator[Report]:
    for name in ("1_at_once", "4_at_once"):
        what = name.replace("_", " ")
        to_floor = figures[name]["ratio_to_floor"]["median"]
        yield _aim(part, f"{what}: rate to the floor's", to_floor, at_least=TRANSFER_TO_FLOOR[part.partition("-")[2]])
        if "ratio_to_glance" in figures[name]:
            to_glance = figures[name]["ratio_to_glance"]["median"]
            yield _aim(part, f"{what}: rate to Glance's", to_glance, at_least=TRANSFER_TO_GLANCE)
    yield _aim(part, "16 at once: MiB, peak", figures["16_at_once"]["peak_mib"], at_most=TRANSFER_PEAK_MIB)
    ratio = figures["get_milliseconds"]["ratio"]
    yield _aim(part, "a GET beside 8: wait to that alone", ratio, at_most=GET_BESIDE_TRANSFERS)


_OF_PART: dict[str, Callable[[str, Report], Iterator[Report]]] = {
    "start": _of_start,
    "idle": _of_idle,
    "get": _of_get,
    "post": _of_post,
    "scale": _of_scale,
    "move": _of_move,
    "purge": _of_purge,
    "peer": _of_peer,
    "upload": _of_transfers,
    "download": _of_transfers,
}


def _aim(part: str, what: str, measured: float, **limit: float) -> Report:
    ((bound, value),) = limit.items()
    met = measured >= value if bound == "at_least" else measured <= value
    return {"part": part, "what": what, **limit, "measured": measured, "met": met}
