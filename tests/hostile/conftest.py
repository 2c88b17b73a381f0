# SPDX-License-Identifier: Apache-2.0
"""A large catalogue on each database, and servers over it."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from bench.catalogues import SMALLEST, TENANT, catalogue
from bench.seeding import seed
from tests.conftest import ENGINES, PostgreSQL, identity
from tests.processes import Server

Start = Callable[..., Server]

ENGINE_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}

VICTIM = identity(TENANT, "member", "victim")
ATTACKER = identity(Counter(kept.image.owner for kept in catalogue(0, SMALLEST)).most_common(1)[0][0], "member", "eve")
"""Of the project that owns most images: it has most to ask for."""

ADMIN = identity("operators", "admin", "root")


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def large_catalogue(
    request: pytest.FixtureRequest, engine: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a database with as many images as `--images` says."""
    count = max(SMALLEST, request.config.getoption("--images"))
    if engine == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('large') / 'large.sqlite'}"
        seed(url, 0, count)
        yield url
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    url = server.create()
    seed(url, 0, count)
    asyncio.run(_analyze(url))
    yield url
    server.drop(url)


async def _analyze(url: str) -> None:
    """What autovacuum does a minute after such a load."""
    import asyncpg

    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


def _kill_group(server: Server) -> None:
    """A worker that still answers attackers must not outlive its test."""
    with suppress(ProcessLookupError):
        os.killpg(server.process.pid, signal.SIGKILL)


@pytest.fixture
def start(large_catalogue: str, tmp_path: Path) -> Iterator[Start]:
    """Starts a server over the large catalogue, or another `database`, with settings by section and name.

    Without others it trusts identity headers. `popen` are options of `subprocess.Popen`.
    """
    with ExitStack() as stack:

        def run(
            database: str = large_catalogue, popen: dict[str, Any] | None = None, **sections: dict[str, Any]
        ) -> Server:
            given = {"identity": {"mode": "context"}, "registry": {"contract": "queens"}, **sections}
            file = tmp_path / "registry.conf"
            file.write_text(
                "".join(
                    f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())
                    for section, options in given.items()
                )
            )
            server = Server(tmp_path, database, "--config-file", str(file), **(popen or {}))
            stack.callback(_kill_group, server)
            return stack.enter_context(server)

        yield run
