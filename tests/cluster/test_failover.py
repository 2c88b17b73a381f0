# SPDX-License-Identifier: Apache-2.0
"""The primary is lost under load: what was acknowledged is there, once, and clients were told nothing but 503."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from deploy.cluster.nodes import Cluster, Node
from tests.cluster.load import Load
from tests.figures import Figure
from tests.processes import Server, run_program

CLIENTS = 6
Blow = Callable[[Cluster, Node, Load], None]


@pytest.fixture
def registries(cluster: Cluster, tmp_path: Path) -> Iterator[list[Server]]:
    """Two processes, which read from the standbys."""
    with ExitStack() as stack:
        replicas = tmp_path / "replicas.conf"
        replicas.write_text(f"[database]\nreplica_connection = {cluster.url_of(*cluster.nodes)}\n")
        options = ("--config-file", str(replicas))
        yield [stack.enter_context(Server(tmp_path, cluster.url, *options)) for _ in range(2)]


async def during(
    cluster: Cluster, registries: list[Server], story: Callable[[Load], Coroutine[Any, Any, None]]
) -> Load:
    """Run a story under load, then compare what clients were told with what is there."""
    async with Load([str(registry.http.base_url) for registry in registries], CLIENTS) as load:
        await load.more(100)
        await story(load)
        await load.more(200)
    assert load.wrong == []
    await check(cluster, load)
    return load


async def check(cluster: Cluster, load: Load) -> None:
    rows = await fetch(cluster, "SELECT id, version, properties FROM images WHERE name ~ $1", f"^{load.name}")
    found = {row["id"]: row for row in rows}
    steps = await fetch(cluster, "SELECT i.id, value FROM image_properties JOIN images i ON i.number = image_number")
    indexed = {row["id"]: row["value"] for row in steps}
    for history in load.histories.values():
        row = found.pop(history.image_id, None)
        if row is None:
            assert not history.created, f"{history} is lost"
            continue
        assert history.created or history.unknown, f"{history} was refused and is there"
        assert 0 <= row["version"] - 1 - history.updates <= history.unknown, f"{history}: version {row['version']}"
        assert row["properties"] == f'{{"step":"{indexed[history.image_id]}"}}'
        assert not history.created or int(indexed[history.image_id]) in history.allowed, history
    assert found == {}
    counted = await fetch(
        cluster, "SELECT name, count(*) FROM images WHERE name ~ $1 GROUP BY name", f"^nameless-{load.name}"
    )
    copies = {row["name"]: row["count"] for row in counted}
    assert load.nameless_kept <= set(copies)
    assert all(count <= load.nameless[name] for name, count in copies.items())


async def fetch(cluster: Cluster, statement: str, *values: str) -> list[Any]:
    connection = await asyncpg.connect(cluster.url)
    try:
        return await connection.fetch(statement, *values)
    finally:
        await connection.close()


def lose_power(cluster: Cluster, primary: Node, load: Load) -> None:
    """PostgreSQL and its Patroni are gone at once."""
    primary.kill()
    wait_for_another(cluster, primary)


def lose_server(cluster: Cluster, primary: Node, load: Load) -> None:
    """PostgreSQL dies, and its Patroni sees it."""
    primary.postgresql[0].send_signal(signal.SIGKILL)
    wait_for_another(cluster, primary)


def freeze(cluster: Cluster, primary: Node, load: Load) -> None:
    """All of it stops answering, and goes on when there is another primary.

    Until its Patroni has seen that, it answers those reads that still wait for it: docs/operate.md says what a watchdog
    is for. It cannot commit: no standby follows it.
    """
    load.reads_are_new = False
    primary.send(signal.SIGSTOP)
    wait_for_another(cluster, primary)
    primary.send(signal.SIGCONT)
    cluster.wait_until(lambda: primary.state().get("role") == "replica")
    load.reads_are_new = True


def switch_over(cluster: Cluster, primary: Node, load: Load) -> None:
    """As for maintenance."""
    answer = primary.ask("POST", "/switchover", {"leader": primary.name})
    assert answer.is_success, answer.text
    wait_for_another(cluster, primary)


def wait_for_another(cluster: Cluster, primary: Node) -> None:
    cluster.wait_until(lambda: any(leader is not primary for leader in cluster.leaders()))


def strike(cluster: Cluster, registries: list[Server], blow: Blow) -> Load:
    primary = cluster.primary

    async def story(load: Load) -> None:
        await asyncio.to_thread(blow, cluster, primary, load)

    load = asyncio.run(during(cluster, registries, story))

    assert load.statuses[503] > 0 or blow is switch_over
    assert cluster.primary is not primary
    if not primary.is_running():
        primary.start()
    return load


def test_when_the_primary_is_killed_under_load_nothing_acknowledged_is_lost(
    cluster: Cluster, registries: list[Server], tmp_path: Path
) -> None:
    strike(cluster, registries, lose_power)

    checked = run_program(tmp_path, "db", "check", "--database", cluster.url)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.nightly
@pytest.mark.parametrize("blow", [lose_power, lose_server, freeze, switch_over], ids=lambda blow: blow.__name__)
def test_blow_after_blow_nothing_acknowledged_is_lost(
    cluster: Cluster, registries: list[Server], blow: Blow, figure: Figure
) -> None:
    loads: list[Load] = []
    for _ in range(3):
        cluster.wait_until(cluster.is_whole)
        loads.append(strike(cluster, registries, blow))

    name = "failover, " + blow.__name__.replace("_", " ")
    figure(f"{name}: acknowledged writes, none lost", sum(load.acknowledged for load in loads))
    figure(f"{name}: answers 503 with Retry-After", sum(load.statuses[503] for load in loads))
    figure(f"{name}: longest time without a write", f"{max(load.longest_pause for load in loads):.1f} s")
