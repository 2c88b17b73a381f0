# SPDX-License-Identifier: Apache-2.0
"""The program as operators run it: a process of its own, on a port of its own."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

PROGRAM = (sys.executable, "-m", "glance_registry")
SECONDS = 60
"""For what should take a moment, on a machine that may be busy with other things."""


_RESERVED: list[socket.socket] = []


def free_port() -> int:
    """A port of loopback on which nothing listens, and which the system gives to nobody else while the tests run.

    A socket stays bound to it. It does not listen, so a program that sets SO_REUSEADDR, as servers do, can.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    _RESERVED.append(reserved)
    return int(reserved.getsockname()[1])


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/versions", timeout=SECONDS).status_code == 200
    except httpx.TransportError:
        return False


def environment(folder: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    return {**own, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}


def run_program(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


class Server:
    """`glance-registry serve` on a free port; what it prints goes to a file."""

    def __init__(self, folder: Path, database: str, *arguments: str, **options: Any) -> None:
        """`options` are for `subprocess.Popen`."""
        self.port = free_port()
        self._output = folder / f"output-{self.port}"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*PROGRAM, "serve", "--port", str(self.port), "--database", database, *arguments],
                cwd=folder,
                env=environment(folder),
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
                **options,
            )
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=SECONDS)

    def __enter__(self) -> "Server":
        wait_until(lambda: self.process.poll() is not None or self.is_listening())
        assert self.process.poll() is None, self.output
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(SECONDS)

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it logged. Fails when a line is not JSON."""
        return [json.loads(line) for line in self.output.splitlines()]

    def is_listening(self) -> bool:
        return answers(self.port)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)

    def add(self, **fields: Any) -> dict[str, Any]:
        image = {"disk_format": "raw", "container_format": "bare", "is_public": True, **fields}
        answer = self.http.post("/images", json={"image": image})
        assert answer.status_code == 200, answer.text
        return answer.json()["image"]

    def kill_all(self) -> None:
        """SIGKILL to the main process and its workers at the same moment."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(SECONDS)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


def obey_modes() -> None:
    """For `preexec_fn`: even root may then only read and write what a file's mode allows (capabilities(7))."""
    if os.geteuid() == 0:
        drop_from_bounding_set, override, read_search = 24, 1, 2
        for capability in (override, read_search):
            assert ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0) == 0


def wait_until(condition: Any) -> None:
    """What another process does cannot be awaited: look again and again."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)


def receive_all(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
    return received
