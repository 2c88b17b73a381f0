# SPDX-License-Identifier: Apache-2.0
"""Hostile callers at size: somebody else is served almost as if they were not there, and memory stays bounded."""

import base64
import json
import os
import resource
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import identity
from tests.figures import Figure
from tests.hostile.attackers import Attack, Outcome, attacked, get, put
from tests.hostile.conftest import ATTACKER, ENGINE_NAMES, VICTIM, Start
from tests.hostile.victim import MAX_RATIO, MAX_SECONDS_IN_ALL, ROUNDS, Victim, Waits, watched_memory
from tests.overload.crowd import MIB
from tests.processes import Server

from glance_registry.api.identity.passwords import new_hash

pytestmark = pytest.mark.nightly

MAX_MEMORY = 512 * MIB
"""Of the program with one worker, whatever is asked for."""

SECONDS_TO_STOP = 10
"""From SIGTERM to the end, whoever is connected."""

UNSELECTIVE = (
    "/images/detail?property-os_distro=windows&property-os_type=linux",
    "/images/detail?property-hw_disk_bus=virtio&property-os_distro=ubuntu&property-os_version=12&size_min=1",
    "/images/detail?property-architecture=x86_64&size_min=1&size_max=2",
    "/images?min_ram=1&sort_key=name",
    "/v2/images?architecture=x86_64&hw_disk_bus=virtio&os_type=linux&os_distro=ubuntu&os_version=9&sort=size:asc",
    "/v2/images?hw_disk_bus=virtio&os_distro=ubuntu&os_version=12&sort=name:asc",
    "/v2/images?q=virtio%20ubuntu%209&sort=size:asc",
    "/v2/images?q=snapshot%20x86%20virtio&sort=name:asc",
    "/v2/images?min_ram=1&sort=status:asc",
    "/v2/images?q=20&limit=1000&sort=size:asc",
)
"""Property filters that match nobody, ranges of sizes, common words: most read far more than they answer."""

CHANGE = '{"image": {"properties": {"changed": "again"}}}'

BIG = identity("big", "member", "mallory")
BIG_IMAGES = 300
MAX_BODY = 1_000_000
"""Bytes of a big image's registration: the program's own limit of a body is the next one."""


class Siege:
    """A victim of a server, and what it waits alone, for comparison with what it waits during attacks."""

    def __init__(self, server: Server, engine: str, figure: Figure, headers: dict[str, str] | None = None) -> None:
        self.server = server
        self._name = ENGINE_NAMES[engine]
        self._figure = figure
        headers = headers or VICTIM
        own = server.http.get("/v2/images?limit=5&sort=id:asc", headers=headers).json()["images"]
        self._gets = [f"{path}/{image['id']}" for image in own for path in ("/images", "/v2/images")]
        self._headers = headers
        self._victims: list[Victim] = []
        self.victim = self.visit(server)
        self.alone = self.victim.measure()
        assert not self.victim.refused

    def visit(self, server: Server) -> Victim:
        """The victim as a caller of another server over the same catalogue."""
        lists = ["/images/detail?limit=10", "/v2/images?limit=10"]
        victim = Victim(server, self._headers, {"GET": self._gets, "list": lists})
        self._victims.append(victim)
        return victim

    def end(self) -> None:
        for victim in self._victims:
            victim.close()

    def note(self, what: str, value: object) -> None:
        self._figure(f"hostile callers, {self._name}: {what}", value)

    def write(self, path: str, body: str) -> None:
        """Let the victim, from now on, write with every request."""
        self.victim = Victim(self.server, self._headers, {"write": [path]}, body)
        self._victims.append(self.victim)
        self.alone = self.victim.measure()
        assert not self.victim.refused

    def bear(self, name: str, *attacks: Attack) -> list[Outcome]:
        """Let the victim ask during these attacks; note what it waits, and fail when that is too much."""
        with watched_memory(self.server) as memory, attacked(*attacks) as attackers:
            beside = self.victim.measure()
        outcomes = [each.outcome for each in attackers]
        self.judge(name, self.alone, beside)
        self.note(f"{name}: what they got", "; ".join(map(str, outcomes)))
        self.note(f"{name}: the program's memory, at most, MiB", memory.peak // MIB)
        broken = self.broken(self.alone, beside)
        assert not broken
        assert not self.victim.refused
        assert memory.peak < MAX_MEMORY
        for outcome in outcomes:
            assert outcome.no_retry_after == 0
            assert not [status for status in outcome.answers if status >= 500 and status != 503]
        assert self.server.http.get("/healthcheck").status_code == 200
        return outcomes

    def judge(self, name: str, alone: dict[str, Waits], beside: dict[str, Waits]) -> None:
        """Note what was waited."""
        for kind, waits in beside.items():
            self.note(f"{name}: a victim's {kind}", f"alone p99 {alone[kind].p99:,.1f} ms; beside them {waits}")
        if self.victim.refused:
            self.note(f"{name}: the victim was refused", dict(self.victim.refused))

    @staticmethod
    def broken(alone: dict[str, Waits], beside: dict[str, Waits]) -> dict[str, str]:
        """The kinds whose waits are too long."""
        return {
            kind: f"{waits.ratio(alone[kind]):.1f} times as long as alone"
            for kind, waits in beside.items()
            if waits.ratio(alone[kind]) >= MAX_RATIO
        }


Besiege = Callable[..., Siege]


@pytest.fixture
def besiege(engine: str, figure: Figure) -> Iterator[Besiege]:
    """Makes the siege of a server; `headers` are the victim's."""
    with ExitStack() as stack:

        def begin(server: Server, headers: dict[str, str] | None = None) -> Siege:
            siege = Siege(server, engine, figure, headers)
            stack.callback(siege.end)
            return siege

        yield begin


def attack(server: Server, connections: int, requests: list[str], **options: Any) -> Attack:
    return Attack(port=server.port, connections=connections, requests=requests, **options)


def heavy(server: Server, connections: int = 100, **options: Any) -> Attack:
    return attack(server, connections, [get(path, ATTACKER) for path in UNSELECTIVE], **options)


def test_a_hundred_clients_with_unselective_filters(start: Start, besiege: Besiege) -> None:
    server = start()
    siege = besiege(server)

    (outcome,) = siege.bear("100 with unselective filters", heavy(server))

    assert outcome.answers.get(200)  # They are slowed down, not shut out.


def test_four_hundred_sockets_that_scrape_the_metrics(start: Start, besiege: Besiege) -> None:
    server = start()
    siege = besiege(server)

    siege.bear("400 that scrape /metrics", attack(server, 400, [get("/metrics")], address="127.0.0.9"))


def test_four_hundred_that_write(start: Start, besiege: Besiege) -> None:
    server = start()
    siege = besiege(server)
    own = _register(server, VICTIM)
    siege.write(f"/images/{own}", CHANGE)
    theirs = [_register(server, ATTACKER) for _ in range(40)]

    (outcome,) = siege.bear(
        "400 that write", attack(server, 400, [put(f"/images/{image_id}", CHANGE, ATTACKER) for image_id in theirs])
    )

    assert outcome.answers.get(200)


def _register(server: Server, headers: dict[str, str]) -> str:
    image = {"name": "changed", "disk_format": "raw", "container_format": "bare", "is_public": False}
    answer = server.http.post("/images", headers=headers, json={"image": image})
    assert answer.status_code == 200
    return str(answer.json()["image"]["id"])


def test_a_hundred_lists_of_the_largest_images(start: Start, besiege: Besiege) -> None:
    server = start(popen={"preexec_fn": _limit_memory})
    bodies = [_largest(server, character) for character in ("v", "\x01")]
    for number in range(BIG_IMAGES):
        assert server.http.post("/images", headers=BIG, json=bodies[number % 2]).status_code == 200
    siege = besiege(server)
    siege.note("a big image as JSON, bytes", max(len(json.dumps(body)) for body in bodies))
    paths = ("/images/detail?limit=1000", "/v2/images?limit=1000", "/v2/images?limit=1000&sort=name:asc")
    requests = [get(f"{path}&name=big", BIG) for path in paths]

    siege.bear("100 that list big images, 1,000 a page", attack(server, 100, requests))


def _limit_memory() -> None:
    """The machine has others to serve: a program without bounds of its own ends here."""
    most = 8 * MAX_MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _largest(server: Server, character: str) -> dict[str, Any]:
    """The registration of about as large an image as the program accepts in one, made of this character."""
    fields = {"name": "big", "disk_format": "raw", "container_format": "bare", "is_public": False}
    probe = server.http.post("/images", headers=BIG, json={"image": fields}).json()["image"]["id"]
    properties: dict[str, str] = {}
    length = 16_384
    while length > 64:
        grown = {**properties, f"p{len(properties)}": character * length}
        body = {"image": {**fields, "properties": grown}}
        fits = len(json.dumps(body)) < MAX_BODY
        if fits and server.http.put(f"/images/{probe}", headers=BIG, json=body).status_code == 200:
            properties = grown
        else:
            length //= 2
    assert properties
    assert server.http.delete(f"/images/{probe}", headers=BIG).status_code == 200
    return {"image": {**fields, "properties": properties}}


def test_hundreds_of_wrong_passwords_at_once(start: Start, besiege: Besiege, tmp_path: Path) -> None:
    """Attackers come from an address of their own and guess for a known user, too."""
    names = [f"user{number}" for number in range(2 * ROUNDS * 3)]
    hashed = new_hash("right")
    (tmp_path / "htpasswd").write_text("".join(f"{name}:{hashed}\n" for name in ["known", *names]))
    (tmp_path / "users").write_text(
        "".join(f"[{name}]\nproject = {VICTIM['X-Tenant-Id']}\n" for name in ["known", *names])
    )
    server = start(
        identity={
            "mode": "http_basic",
            "htpasswd_file": tmp_path / "htpasswd",
            "users_file": tmp_path / "users",
        }
    )
    siege = besiege(server, _password("known", "right"))
    alone = _measure_newcomers(siege.victim, names[: ROUNDS * 3])
    wrong = [
        get("/v2/images?limit=1", _password("known" if number % 4 == 0 else f"guess{number}", f"wrong{number}"))
        for number in range(4_800)
    ]
    attackers = attack(server, 480, wrong, address="127.0.0.9")

    outcomes = siege.bear("480 with wrong passwords, a known user", attackers)
    with attacked(attackers):
        beside = _measure_newcomers(siege.victim, names[ROUNDS * 3 :])

    name = "480 with wrong passwords, users who sign in for the first time"
    siege.judge(name, alone, beside)
    assert not siege.broken(alone, beside)
    assert not siege.victim.refused
    assert 200 not in outcomes[0].answers


def _password(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def _measure_newcomers(victim: Victim, names: list[str]) -> dict[str, Waits]:
    """In rounds of three, as long as there is time."""
    waits: list[float] = []
    end = time.perf_counter() + MAX_SECONDS_IN_ALL
    for name in names:
        if len(waits) < 3 or time.perf_counter() < end:
            waits.append(victim.ask("/v2/images?limit=1", _password(name, "right")))
    rounds = [max(waits[first : first + 3]) for first in range(0, len(waits), 3)]
    return {"first list": Waits(statistics.median(rounds), max(waits))}


def test_a_log_that_nobody_reads(start: Start, besiege: Besiege) -> None:
    ours, theirs = os.pipe()

    def print_there() -> None:
        os.dup2(theirs, 1)
        os.dup2(theirs, 2)

    siege = besiege(start())
    server = start(popen={"preexec_fn": print_there})
    os.close(theirs)
    try:
        victim = siege.visit(server)
        beside = victim.measure()
        siege.judge("a log that nobody reads", siege.alone, beside)
        broken = siege.broken(siege.alone, beside)
        status = _stop(server, siege, "a log that nobody reads")
    finally:
        os.close(ours)

    assert not broken
    assert not victim.refused
    assert status == 0


def test_clients_that_ask_and_go_away_at_once(start: Start, besiege: Besiege) -> None:
    server = start()
    siege = besiege(server)

    siege.bear("100 that ask and go away at once", heavy(server, leaves=True))


def test_the_program_stops_while_it_is_attacked(start: Start, besiege: Besiege) -> None:
    server = start()
    siege = besiege(server)

    with attacked(heavy(server), heavy(server, leaves=True)):
        siege.victim.measure(rounds=1)
        status = _stop(server, siege, "200 with unselective filters")

    assert status == 0


def _stop(server: Server, siege: Siege, name: str) -> int | None:
    """SIGTERM; the exit status, or None if it did not end in time."""
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    while (status := server.process.poll()) is None and time.monotonic() < started + SECONDS_TO_STOP:
        time.sleep(0.05)
    took = f"{time.monotonic() - started:.1f} s" if status is not None else f"more than {SECONDS_TO_STOP} s"
    siege.note(f"{name}: from SIGTERM to the end", f"{took}, status {status}")
    return status
