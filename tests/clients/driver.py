# SPDX-License-Identifier: Apache-2.0
"""Runs in the environment of the clients: a call a line from standard input, its outcome a line to standard output.

One process that has the clients loaded, which takes seconds, and a copy of it for each caller. Lines are JSON. A call
names a `client`, the `environ` (OS_…) of its caller, and what is to be done: `openstack` has `argv`, `at_terminal`
and `piped`, the path of a file; `glance-command` has `argv` and `piped`; `sdk` and `glance` have the `method` of a
connection or client, `args` and `kwargs`.
"""

import contextlib
import io
import json
import multiprocessing
import os
import pty
import subprocess
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from functools import cache, reduce
from multiprocessing.connection import Connection
from typing import Any, TextIO

import openstack
from glanceclient import Client
from glanceclient.shell import OpenStackImagesShell
from glanceclient.v2 import client as _client  # noqa: F401
from openstackclient import shell
from openstackclient.image.v2 import image as _image  # noqa: F401 It would be loaded by each copy.


@cache
def terminal() -> TextIO:
    """A terminal at which nobody types."""
    return os.fdopen(pty.openpty()[1])


@cache
def nothing() -> TextIO:
    """An empty input."""
    return os.fdopen(os.open(os.devnull, os.O_RDONLY))


@contextlib.contextmanager
def pipe_from(path: str) -> Iterator[TextIO]:
    """A file as it comes from another program: nobody knows how long it is."""
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        yield io.TextIOWrapper(other.stdout)


def run(main: Callable[[list[str]], Any], argv: list[str], at_terminal: bool, piped: str | None) -> dict[str, Any]:
    """The exit status of a command, and what it printed. Not at a terminal its standard input is empty, as that of a
    scheduled job, unless a file is piped into it."""
    given = contextlib.nullcontext(terminal() if at_terminal else nothing()) if piped is None else pipe_from(piped)
    out, err = io.StringIO(), io.StringIO()
    with given as sys.stdin, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(argv)
        except SystemExit as stop:
            status = stop.code
    return {"status": status, "out": out.getvalue(), "err": err.getvalue()}


def glance_main(argv: list[str]) -> int:
    """`glance …`, with the client of this caller: the command itself knows no HTTP basic."""
    arguments = OpenStackImagesShell().get_subcommand_parser(2).parse_args(argv)
    arguments.func(glance(), arguments)
    return 0


@cache
def sdk() -> Any:
    """What openstacksdk makes of the environment."""
    return openstack.connect()


@cache
def glance() -> Any:
    """A glanceclient over the same session; it says /v2 itself."""
    endpoint = os.environ.get("OS_ENDPOINT", "").removesuffix("/v2")
    return Client("2", session=sdk().session, endpoint_override=endpoint or None)


def plain(value: Any) -> Any:
    """What JSON has room for. glanceclient wraps what it returns."""
    if isinstance(value, types.GeneratorType | list | tuple):
        return [plain(one) for one in value]
    value = getattr(value, "__wrapped__", value)
    if hasattr(value, "to_dict"):
        return plain(value.to_dict(computed=False))
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return value if isinstance(value, str | int | float | None) else str(value)


def call(client: Any, method: str, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a method of a client returned, or the class and the text of what it raised."""
    try:
        function = reduce(getattr, method.split("."), client)
        return {"value": plain(function(*args, **kwargs))}
    except Exception as error:
        return {"error": type(error).__name__, "text": str(error)}


def outcome(asked: dict[str, Any]) -> dict[str, Any]:
    """The outcome of one call."""
    if asked["client"] == "openstack":
        return run(shell.main, asked["argv"], asked["at_terminal"], asked["piped"])
    if asked["client"] == "glance-command":
        return run(glance_main, asked["argv"], True, asked["piped"])
    client = {"sdk": sdk, "glance": glance}[asked["client"]]()
    return call(client, asked["method"], asked["args"], asked["kwargs"])


def make_calls(environ: dict[str, str], way: Connection) -> None:
    """The calls of one caller, for good."""
    os.environ.update(environ)
    while True:
        way.send(outcome(way.recv()))


@cache
def way_to(environ: str) -> Connection:
    """The way to the copy of this process for a caller: clients remember whom they spoke for, and with whom."""
    forking = multiprocessing.get_context("fork")
    ours, theirs = forking.Pipe()
    forking.Process(target=make_calls, args=(json.loads(environ), theirs), daemon=True).start()
    return ours


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        asked = json.loads(line)
        way = way_to(json.dumps(asked["environ"]))
        way.send(asked)
        print(json.dumps(way.recv()), flush=True)
