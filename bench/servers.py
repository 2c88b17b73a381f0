# SPDX-License-Identifier: Apache-2.0
"""Starts and stops what is measured: the program and its ceiling."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""This checkout."""

SECONDS_TO_START = 120
_SECONDS_TO_STOP = 40
_BETWEEN_TRIES = 0.002
_TICKS = os.sysconf("SC_CLK_TCK")
_PSS = re.compile(r"^Pss:\s*(\d+)", re.MULTILINE)
_STRANGE = re.compile("OS_.*__|PYTHON(DONTWRITEBYTECODE|UNBUFFERED)$")


class Server:
    """A running server: the process that was started, and the workers that it started."""

    def __init__(
        self, name: str, command: Sequence[str], port: int, log: Path, *, folder: Path = ROOT, **variables: str
    ) -> None:
        """It runs in that folder, with these environment variables."""
        self.name = name
        self.port = port
        self._log = log
        # As in a plain deployment, whatever is set here; the compiled modules stay out of the source tree.
        environment = {key: value for key, value in os.environ.items() if not _STRANGE.match(key)}
        environment |= {"PYTHONPYCACHEPREFIX": str(log.parent / "pycache"), **variables}
        self._started = time.perf_counter()
        # As in a deployment, every request is logged; here to a file.
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)

    @property
    def pid(self) -> int:
        return self._process.pid

    def workers(self) -> list[int]:
        """The processes that the started one has started."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def cpu(self) -> float:
        """CPU seconds that the workers have used."""
        used = 0
        for pid in self.workers() or [self.pid]:  # The floor of uploads has none.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used += int(fields[11]) + int(fields[12])
        return used / _TICKS

    def pss_mib(self) -> float:
        """The memory that all processes take together: what they share counts once."""
        texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in (self.pid, *self.workers())]
        return sum(int(found) for text in texts for found in _PSS.findall(text)) / 1024

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


Settings = Mapping[str, Mapping[str, str]]
"""By section and name."""


@contextmanager
def subject(
    database_url: str, folder: Path, settings: Settings | None = None, workers: int = 1, *, other: Path | None = None
) -> Iterator[Server]:
    """The program as it is deployed, but for the settings of this machine and the given ones; or that of another
    checkout."""
    port = free_port()
    file = folder / f"{port}.conf"
    sections = [
        f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())
        for section, options in (settings or {}).items()
    ]
    file.write_text("".join(sections))
    options = ["--config-file", str(file), "--port", str(port), "--database", database_url, "--workers", str(workers)]
    name, checkout = ("other", other) if other else ("subject", ROOT)
    command = [interpreter(checkout), "-m", "glance_registry", "serve", *options]
    log = folder / f"{name}.log"
    with running(Server(name, command, port, log, folder=checkout, PYTHONPATH=source(checkout))) as server:
        yield server


def interpreter(checkout: Path) -> str:
    """The Python of a checkout's own virtual environment; for this checkout, or without one, the running one."""
    own = checkout / ".venv" / "bin" / "python"
    return str(own) if checkout != ROOT and own.exists() else sys.executable


def source(checkout: Path) -> str:
    """What PYTHONPATH must be to run a checkout's program, whatever is installed."""
    return str(checkout / "src")


@contextmanager
def ceiling(database_url: str, folder: Path) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "bench.ceiling", database_url, str(port)]
    with running(Server("ceiling", command, port, folder / "ceiling.log")) as server:
        yield server


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """A server, stopped in the end."""
    try:
        yield server
    finally:
        server.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
