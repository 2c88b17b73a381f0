# SPDX-License-Identifier: Apache-2.0
"""Whatever is sent, the answer is no fault of ours, it comes, and the catalogue stays sound."""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.conftest import ENGINES, Client
from tests.figures import Figure
from tests.fuzz.mutations import Mutator
from tests.options import make_settings
from tests.processes import SECONDS, Server, receive_all
from tests.raw import ask
from tests.speeds import scaled

from glance_registry.catalogue.integrity import check
from glance_registry.catalogue.snapshot import snapshot

REQUESTS_A_SEED = 50
SEEDS = st.integers(0, 2**64)
GO = settings(deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


def assert_sound(url: str) -> None:
    faults: list[check.Fault] = []
    asyncio.run(snapshot(url, check.check, faults.append))
    assert faults == []


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, make_database: Callable[[str], str]) -> str:
    return make_database(request.param)


@pytest.mark.parametrize("seeds", [10, pytest.param(300, marks=pytest.mark.nightly)])
@pytest.mark.parametrize(("contract", "mode"), [("cactus", "none"), ("queens", "context")])
def test_no_request_is_answered_with_a_fault_of_ours(
    url: str, contract: str, mode: str, seeds: int, figure: Figure
) -> None:
    statuses: Counter[int] = Counter()

    @settings(GO, max_examples=scaled(seeds))
    @given(seed=SEEDS)
    def every_answer_is_below_500(seed: int) -> None:
        mutator = Mutator(seed)
        for _ in range(REQUESTS_A_SEED):
            sent = mutator.request()
            answer = ask(client, sent.method, sent.path, query=sent.query, headers=sent.headers, body=sent.body)
            statuses[answer.status] += 1
            assert answer.status < 500, (seed, sent, answer)

    with closing(Client(make_settings(url, registry__contract=contract, identity__mode=mode))) as client:
        every_answer_is_below_500()

    assert_sound(url)
    assert {200, 204, 400, 404, 409} <= statuses.keys()
    engine = url.partition(":")[0]
    figure(f"fuzz, mutated requests, {engine}, {contract}: requests, none answered 5xx", statuses.total())


@pytest.fixture
def server(tmp_path: Path, sqlite_database: str) -> Iterator[Server]:
    with Server(tmp_path, sqlite_database, "--workers", "2") as server:
        yield server


def exchange(server: Server, data: bytes) -> bytes:
    """Send bytes and nothing more; what comes back until the server closes. Raises TimeoutError when it does not."""
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return receive_all(connection)
        except TimeoutError:
            raise
        except OSError:
            return b""  # Closed by the server before it had read, or been sent, everything.


@pytest.mark.parametrize("seeds", [4, pytest.param(250, marks=pytest.mark.nightly)])
def test_no_bytes_are_answered_with_a_fault_of_ours_or_never(
    server: Server, sqlite_database: str, seeds: int, figure: Figure
) -> None:
    sent: Counter[bytes] = Counter()

    def fuzz(seed: int) -> None:
        mutator = Mutator(seed)
        for _ in range(REQUESTS_A_SEED):
            data = mutator.raw()
            answer = exchange(server, data)
            status = answer.split(b" ", 2)[1] if answer else b"none"
            sent[status] += 1
            assert not status.startswith(b"5"), (seed, data, answer)

    @settings(GO, max_examples=scaled(seeds))
    @given(seeds=st.lists(SEEDS, min_size=4, max_size=4))
    def four_at_once(seeds: list[int]) -> None:
        with ThreadPoolExecutor(4) as threads:
            for _ in threads.map(fuzz, seeds):
                pass

    four_at_once()

    assert {b"200", b"400", b"404"} <= sent.keys()
    assert server.http.get("/healthcheck").status_code == 200
    assert "Traceback" not in server.output
    assert_sound(sqlite_database)
    workers = psutil.Process(server.process.pid).children(recursive=True)
    figure("fuzz, mutated bytes over sockets: requests, none answered 5xx, none unanswered", sent.total())
    figure(
        "fuzz, mutated bytes over sockets: a worker's memory after it",
        f"{max(worker.memory_info().rss for worker in workers) >> 20} MiB (limit: {SECONDS} s an answer)",
    )
