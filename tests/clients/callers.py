# SPDX-License-Identifier: Apache-2.0
"""Somebody who uses the clients of PyPI: commands of `openstack`, calls of openstacksdk and of python-glanceclient."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Refused(Exception):
    """A client's method raised; the text begins with the class of what it raised."""


class Driver:
    """A program of this folder in an environment of its own: `driver.py` in that of the clients, or another."""

    def __init__(self, folder: Path, program: str = "driver.py", environment: str = "clients", *args: str) -> None:
        python = Path(sys.prefix) / environment / "bin" / "python"
        assert python.exists(), f"{environment} is not installed: run `make test`, or `make .venv/{environment}.stamp`."
        own = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PYTHON"))}
        self._errors = (folder / "driver-errors").open("w+")
        self._process = subprocess.Popen(
            [python, "-P", Path(__file__).with_name(program), *args],
            cwd=folder,
            env={**own, "HOME": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def ask(self, **call: Any) -> dict[str, Any]:
        """Has a call made, and waits for its outcome."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, Path(self._errors.name).read_text()
        outcome: dict[str, Any] = json.loads(line)
        return outcome

    def close(self) -> None:
        self._process.communicate()
        self._errors.close()


class Caller:
    """One person's environment variables, with the three clients at hand."""

    def __init__(self, driver: Driver, project: str | None, environ: Mapping[str, str]) -> None:
        self._driver, self.project, self._environ = driver, project, dict(environ)

    def by_service(self, driver: Driver, method: str, **kwargs: Any) -> Any:
        """What a service returns that acts for this person of Keystone: see `service_driver.py`. Raises Refused."""
        endpoint = f"http://127.0.0.1:{self._environ['TEST_SERVER']}"
        environ = {**self._environ, "IMAGE_ENDPOINT": endpoint}
        return _value(driver.ask(environ=environ, method=method, kwargs=kwargs))

    def with_password(self, password: str) -> "Caller":
        """The same, with another password."""
        return Caller(self._driver, self.project, {**self._environ, "OS_PASSWORD": password})

    def run(self, command: str, *, at_terminal: bool = True, piped: Path | None = None) -> str:
        """What `openstack COMMAND` prints; it must succeed.

        Its standard input is a terminal, or empty, or a file that is piped into it.
        """
        outcome = self._openstack(command, at_terminal=at_terminal, piped=piped)
        assert outcome["status"] == 0, outcome
        out: str = outcome["out"]
        return out

    def run_glance(self, command: str, *, piped: Path | None = None) -> str:
        """What `glance COMMAND` prints; it must succeed."""
        outcome = self._driver.ask(
            client="glance-command",
            environ=self._environ,
            argv=shlex.split(command),
            piped=None if piped is None else str(piped),
        )
        assert outcome["status"] == 0, outcome
        out: str = outcome["out"]
        return out

    def see(self, command: str) -> Any:
        """What `openstack COMMAND -f json` prints, read."""
        return json.loads(self.run(f"{command} -f json"))

    def names(self, options: str) -> list[str]:
        """The names that `openstack image list OPTIONS` shows."""
        return [image["Name"] for image in self.see(f"image list {options}")]

    def fail(self, command: str) -> str:
        """What `openstack COMMAND` says of its failure; it must fail."""
        outcome = self._openstack(command)
        assert outcome["status"] != 0, outcome
        said: str = outcome["err"]
        return said

    def sdk(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """What `openstack.connect().METHOD(…)` returns. Raises Refused."""
        return self._call("sdk", method, args, kwargs)

    def glance(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """What `glanceclient.Client("2", …).METHOD(…)` returns. Raises Refused."""
        return self._call("glance", method, args, kwargs)

    def _openstack(self, command: str, *, at_terminal: bool = True, piped: Path | None = None) -> dict[str, Any]:
        return self._driver.ask(
            client="openstack",
            environ=self._environ,
            argv=shlex.split(command),
            at_terminal=at_terminal,
            piped=None if piped is None else str(piped),
        )

    def _call(self, client: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _value(self._driver.ask(client=client, environ=self._environ, method=method, args=args, kwargs=kwargs))


def _value(outcome: Mapping[str, Any]) -> Any:
    """What a call returned. Raises Refused."""
    if "error" in outcome:
        raise Refused(f"{outcome['error']}: {outcome['text']}")
    return outcome["value"]
