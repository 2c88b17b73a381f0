# SPDX-License-Identifier: Apache-2.0
"""The program of this checkout beside that of another one: the same images and requests, in turn.

For a change that must not make anything slower: each figure becomes a ratio, of which more than 1 is better.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench import questions, servers, waits
from bench.asking import Client
from bench.databases import Databases
from bench.measures import SECONDS_IDLE, STARTS, Options, Pair, Report, memory, spread
from bench.questions import CONTEXT
from bench.servers import Server, Settings, interpreter, source

AT_LEAST = 0.97
"""No figure may be worse by more than three per cent."""

OTHER, SUBJECT = "other", "subject"
_SETTLE_SECONDS = 0.5
_EDITION = "from bench import databases; print(databases._EDITION)"
_GROW = "import sys; from bench.seeding import seed; seed(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))"


class Both(Struct, frozen=True):
    """The two checkouts, each with catalogues that have its own tables."""

    catalogues: dict[str, Databases]
    """Of the other one first, as ratios are taken to it."""

    other: Path
    folder: Path
    options: Options

    @contextmanager
    def copies(self) -> Iterator[dict[str, str]]:
        """The URLs of new copies of the catalogue."""
        with ExitStack() as stack:
            urls = {}
            for name, catalogue in self.catalogues.items():
                urls[name] = catalogue.create(self.options.images)
                stack.callback(catalogue.drop, urls[name])
            yield urls

    @contextmanager
    def serving(self, settings: Settings | None = None) -> Iterator[dict[str, Server]]:
        """Both programs, each over a new copy."""
        with self.copies() as urls, ExitStack() as stack:
            started = {name: stack.enter_context(self.serve(name, url, settings)) for name, url in urls.items()}
            for server in started.values():
                server.wait()
            yield started

    @contextmanager
    def serve(self, name: str, url: str, settings: Settings | None = None) -> Iterator[Server]:
        with servers.subject(url, self.folder, settings, other=self.other if name == OTHER else None) as server:
            yield server


def prepare(kept: Databases, folder: Path, options: Options, other: Path) -> Both:
    """Fill the catalogues, and start each program once, so that its modules are compiled."""
    edition = _run(other, _EDITION).strip()
    catalogues = {OTHER: kept.of_edition(edition, partial(_grow, other)), SUBJECT: kept}
    for each in catalogues.values():
        each.prepare([options.images])
    both = Both(catalogues, other, folder, options)
    with both.serving():
        return both


def _grow(checkout: Path, url: str, first: int, end: int) -> None:
    """Add images by the seeding of another checkout, which knows its tables."""
    _run(checkout, _GROW, url, str(first), str(end))


def _run(checkout: Path, code: str, *arguments: str) -> str:
    """What Python prints for code that uses a checkout's bench."""
    done = subprocess.run(
        [interpreter(checkout), "-c", code, *arguments],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": source(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"bench: the checkout {checkout} cannot make its catalogue:\n{done.stderr[-2000:]}")
    return done.stdout


def start(both: Both) -> Report:
    """Seconds from exec to the first answered /healthcheck, over a full database."""
    return {"seconds": _in_turn(both, _seconds_to_start)}


def _seconds_to_start(both: Both, name: str, url: str) -> float:
    with both.serve(name, url) as server:
        return server.wait()


def idle(both: Both) -> Report:
    """MiB of memory (PSS) of all processes of each program together."""
    return {"pss_mib": _in_turn(both, _mib_when_idle)}


def _mib_when_idle(both: Both, name: str, url: str) -> float:
    with both.serve(name, url) as server:
        server.wait()
        time.sleep(SECONDS_IDLE)
        return float(memory(server)["pss_mib"])


def _in_turn(both: Both, measure: Callable[[Both, str, str], float]) -> Report:
    """A figure of each program in each round, and the ratio of ours to the other one's."""
    with both.copies() as urls:
        rounds = [{name: measure(both, name, url) for name, url in urls.items()} for _ in range(STARTS)]
    figures: Report = {name: spread([each[name] for each in rounds]) for name in urls}
    figures["ratio"] = spread([each[SUBJECT] / each[OTHER] for each in rounds])
    both.options.say("  ".join(f"{name} {figures[name]['median']}" for name in urls))
    return figures


def _pair(measure: Callable[[Pair], Report], both: Both) -> Report:
    with both.serving() as started:
        return measure(Pair(started[SUBJECT], started[OTHER], both.options))


def ask(both: Both) -> Report:
    """What one client waits for each kind of question and of change."""
    size = both.options.images
    with both.serving(CONTEXT) as started, ExitStack() as stack:
        clients = {name: Client(server.port) for name, server in started.items()}
        for client in clients.values():
            stack.callback(client.close)
        time.sleep(_SETTLE_SECONDS)
        return {
            group: waits.compare(clients, {name: make(size) for name in clients}, both.options)
            for group, make in (("reads", questions.reads), ("writes", questions.writes))
        }


PARTS: dict[str, Callable[[Both], Report]] = {
    "start": start,
    "idle": idle,
    "get": partial(_pair, Pair.measure_get),
    "list": partial(_pair, Pair.measure_list),
    "post": partial(_pair, Pair.measure_post),
    "waits": ask,
}


def ratios(parts: Report) -> list[Report]:
    """The ratio of each figure to the other checkout's, as an aim: more than 1 is better."""
    return [
        {"part": part, "what": what, "at_least": AT_LEAST, "measured": ratio, "met": ratio >= AT_LEAST}
        for part, figures in parts.items()
        for what, ratio in _found(figures, ())
    ]


def _found(figures: Any, path: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """Every ratio in a part's figures, with what it is of: rates are better when they grow, the others are not."""
    name = "".join(f"{each}: " for each in path)
    if "cpu_ratio" in figures:
        yield f"{name}rate", figures["ratio"]["median"]
        yield f"{name}CPU time", figures["cpu_ratio"]["median"]
    elif "ratio_of_fastest" in figures:
        yield f"{name}wait", round(1 / figures["ratio"][SUBJECT]["median"], 3)
        yield f"{name}the fastest tenth", round(1 / figures["ratio_of_fastest"][SUBJECT]["median"], 3)
    elif "ratio" in figures:
        yield name.removesuffix(": "), round(1 / figures["ratio"]["median"], 3)
    else:
        for key, value in figures.items():
            if key not in ("gain", "measured"):  # Gains follow from the rates.
                yield from _found(value, (*path, key))
