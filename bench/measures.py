# SPDX-License-Identifier: Apache-2.0
"""What is measured on one kind of database, each part beside its ceiling, or beside another checkout."""

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from msgspec import Struct

from bench import servers
from bench.catalogues import SEED, realistic, registration
from bench.databases import Databases
from bench.load import SERIAL, Load, Outcome, apply
from bench.servers import Server
from bench.working_sets import pages, shows

Report = dict[str, Any]

READERS = 16
WRITERS = 64
STARTS = 5
SECONDS_IDLE = 2.0
_SECONDS_TO_SETTLE = 0.2
_BODIES = 500


class Options(Struct, frozen=True, kw_only=True):
    """How much to measure, and with what."""

    images: int
    rounds: int
    seconds: float
    scale: tuple[int, ...]
    """Sizes of catalogues to compare; none: those parts are left out."""

    image_mib: int = 1024
    """Of the images that are uploaded and downloaded."""

    peer: bool = False
    """Whether transfers are compared with Glance, too."""

    say: Callable[[str], None]


class Pair:
    """The program and what it is compared with, running, each with a database of its own."""

    def __init__(self, subject: Server, other: Server, options: Options) -> None:
        self._servers = (subject, other)
        self._other = other.name
        self._options = options
        self._serials = count(0, 10_000_000)

    def measure_get(self) -> Report:
        return {name: self._read(f"get, {name}", paths) for name, paths in shows(self._options.images).items()}

    def measure_list(self) -> Report:
        return {name: self._read(f"list, {name}", paths) for name, paths in pages(self._options.images).items()}

    def measure_post(self) -> Report:
        one = [self._post(1, server) for server in self._servers]
        many = [self._post(WRITERS, server) for server in self._servers]
        rounds = self._rounds("post", [*one, *many])
        outcomes = list(zip(*rounds, strict=True))
        return {
            "one_client": compare([each[:2] for each in rounds], self._other),
            "many_clients": compare([each[2:] for each in rounds], self._other),
            "gain": {"subject": _gain(outcomes[0], outcomes[2]), self._other: _gain(outcomes[1], outcomes[3])},
        }

    def _read(self, name: str, paths: list[str]) -> Report:
        load = Load(connections=READERS, seconds=self._options.seconds, paths=paths)
        return compare(self._rounds(name, [self._bind(load, server) for server in self._servers]), self._other)

    def _post(self, connections: int, server: Server) -> Callable[[float], "Round"]:
        bodies = []
        for image in realistic(_BODIES, seed=SEED + 1):
            body = registration(image)
            bodies.append(msgspec.json.encode({"image": {**body, "name": f"{body['name']}-{SERIAL}"}}).decode())
        load = Load(
            method="POST", connections=connections, seconds=self._options.seconds, paths=["/images"], bodies=bodies
        )
        return self._bind(load, server)

    def _bind(self, load: Load, server: Server) -> Callable[[float], "Round"]:
        def run(seconds: float) -> Round:
            time.sleep(_SECONDS_TO_SETTLE)
            asked = msgspec.structs.replace(load, port=server.port, seconds=seconds, first_serial=next(self._serials))
            before = server.cpu()
            outcome = apply(asked)
            return Round(outcome, server.cpu() - before)

        return run

    def _rounds(self, name: str, runs: list[Callable[[float], "Round"]]) -> list[list["Round"]]:
        """A B A B …: what slows the machine down for a while slows both of a pair."""
        for run in runs:
            run(self._options.seconds / 2)
        rounds = []
        for number in range(self._options.rounds):
            rounds.append([run(self._options.seconds) for run in runs])
            rates = "  ".join(f"{done.rate:8.0f}/s" for done in rounds[-1])
            self._options.say(f"{name:24} round {number + 1}: {rates}")
        return rounds


class Round(Struct, frozen=True):
    """One load on one server, and the CPU seconds that the server's worker used for it."""

    outcome: Outcome
    server_cpu: float

    @property
    def rate(self) -> float:
        return self.outcome.answers / self.outcome.seconds

    @property
    def cpu_each(self) -> float:
        """Microseconds of the worker's CPU time per answer."""
        return 1e6 * self.server_cpu / max(1, self.outcome.answers + self.outcome.late)


def compare(rounds: Iterable[Sequence[Round]], name: str) -> Report:
    """The program beside the one of that name, from a pair of each round."""
    subject, other = zip(*rounds, strict=True)
    ratios = [ours.rate / theirs.rate for ours, theirs in zip(subject, other, strict=True)]
    cpu = [theirs.cpu_each / ours.cpu_each for ours, theirs in zip(subject, other, strict=True) if ours.cpu_each]
    return {
        "subject": _summary(subject),
        name: _summary(other),
        "ratio": spread(ratios),
        "cpu_ratio": spread(cpu),
    }


def _summary(rounds: tuple[Round, ...]) -> Report:
    return {
        "per_second": spread([done.rate for done in rounds], digits=1),
        "cpu_microseconds": spread([done.cpu_each for done in rounds], digits=1),
        "answer_bytes": rounds[-1].outcome.answer_bytes,
        "generator_cores": round(max(done.outcome.cpu / done.outcome.seconds for done in rounds), 2),
    }


def _gain(one: tuple[Round, ...], many: tuple[Round, ...]) -> Report:
    return spread([ours.rate / alone.rate for ours, alone in zip(many, one, strict=True)])


def spread(values: list[float], digits: int = 3) -> Report:
    """One figure per round, and their median."""
    return {"rounds": [round(value, digits) for value in values], "median": round(median(values), digits)}


def warm_up(folder: Path) -> None:
    """Start the program once, so that its modules are compiled, as they are where it was installed a while ago."""
    with servers.subject(f"sqlite:///{folder / 'warm-up.sqlite'}", folder) as server:
        server.wait()


def start(kept: Databases, folder: Path, options: Options) -> Report:
    """Seconds from exec to the first answered /healthcheck, over a full database and over none yet."""
    report: Report = {}
    for state, create in (("existing", lambda: kept.create(options.images)), ("new", kept.create_empty)):
        url = create()
        seconds: list[float] = []
        while url and len(seconds) < STARTS:
            with servers.subject(url, folder) as server:
                seconds.append(server.wait())
            url = url if state == "existing" else create()
        if seconds:
            report[state] = spread(seconds)
            options.say(f"start, {state} database: {report[state]['median']} s")
    return report


def idle(kept: Databases, folder: Path, options: Options) -> Report:
    """Memory of each process of the program when it has only been asked whether it lives."""
    with servers.subject(kept.create(options.images), folder) as server:
        server.wait()
        time.sleep(SECONDS_IDLE)
        report = memory(server)
    options.say(f"idle: {report['pss_mib']} MiB")
    return report


def memory(server: Server) -> Report:
    """What each process of a server has of the machine's memory, and all together."""
    processes = {"main": _memory(server.pid)}
    for number, pid in enumerate(server.workers(), 1):
        processes[f"worker{number}"] = _memory(pid)
    return {**processes, "pss_mib": round(sum(each["pss_mib"] for each in processes.values()), 1)}


def _memory(pid: int) -> Report:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
    return {"rss_mib": round(kib["Rss"] / 1024, 1), "pss_mib": round(kib["Pss"] / 1024, 1)}
