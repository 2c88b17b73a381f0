# SPDX-License-Identifier: Apache-2.0
"""`glance-registry serve`: starts the server, Granian, with its worker processes."""

import asyncio
import ctypes
import errno
import gc
import logging
import os
import resource
import signal
import socket
import sys
from contextlib import ExitStack
from functools import partial
from multiprocessing.util import Finalize
from typing import Any

import click
from granian import Granian
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings

from glance_registry import log as logs
from glance_registry.api.asgi import Application
from glance_registry.api.host_check import is_loopback
from glance_registry.app import build, open_stores
from glance_registry.catalogue import schema
from glance_registry.catalogue.database_url import parse_url
from glance_registry.cli import tls
from glance_registry.cli.counters import counters_folder
from glance_registry.cli.options import load_settings, setting_options
from glance_registry.cli.sockets import close_unread_connections, cut_connections
from glance_registry.model.errors import Conflict, Invalid
from glance_registry.settings import Settings

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1
"""prctl(2), linux/prctl.h."""

GC_THRESHOLD = (20_000, 20, 50)
"""Requests leave no reference cycles; collecting at Python's default rate costs a tenth of the speed."""

MAX_SHUTDOWN_SECONDS = 30
"""How long a worker may take to finish its requests after SIGTERM."""

CUT_SECONDS = 16
"""How long after SIGTERM connections are cut whose clients do not take their answers.

Uploads and downloads have been cancelled by then, see `api/patience.py`, and uploads have undone what they did.
"""

BACKLOG = 1024
"""Connections that wait to be accepted; Linux cuts this to net.core.somaxconn."""

MAX_BUFFER_BYTES = 131_072
"""Of a connection: a request's headers, of which Granian also limits the number to 100, or a message of a body.

Smaller messages cost uploads more CPU time, larger buffers give clients that send endless headers more memory.
"""

RESERVED_FILES = 200
"""Open files of a worker that are not connections of clients: those of the database, Python and Granian."""

POLL_SECONDS = 0.01
"""How often a starting worker checks whether it listens."""

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

# Granian's log lines go through our handler, in the same form.
_GRANIAN_LOGS = {
    "root": {},
    "formatters": {},
    "handlers": {},
    "loggers": {
        "_granian": {"propagate": True},
        # Many lines for each client that goes before it has its answer.
        "_granian.asgi.io": {"propagate": True, "level": "WARNING"},
        "granian.access": {"propagate": True},
    },
    "disable_existing_loggers": False,
}


@click.command()
@setting_options
def serve() -> None:
    """Serve the registry until SIGTERM or Ctrl-C."""
    run()


def run() -> None:
    """Serve with the settings of this invocation. Raises Invalid, Conflict or Unavailable if it cannot start."""
    settings = load_settings().settings
    logs.configure(settings.log_format)
    refuse_open_port(settings)
    tls_options = tls.options(settings)
    refuse_port_in_use(settings)
    if settings.identity.mode == "none" and not is_loopback(settings.bind_host):
        log.warning(
            "EVERYBODY WHO REACHES THE PORT IS AN ADMIN: the identity mode is none",
            extra={"fields": {"host": settings.bind_host, "port": settings.bind_port}},
        )
    build(settings)  # An error, such as a broken users file, stops the program here and not in each worker.
    asyncio.run(prepare_database(settings.database.connection))
    open_stores(settings).prepare()
    url = f"{'https' if tls_options else 'http'}://{_in_url(settings.bind_host)}:{settings.bind_port}"
    logs.take_over(settings.log_format)
    log.info("listening", extra={"fields": {"url": url}})
    if settings.workers == 1:
        _run(settings, tls_options)
        return
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(counters_folder())
        except OSError as error:
            log.warning(
                "no folder for shared counters: each worker counts by itself", extra={"fields": {"error": str(error)}}
            )
        else:
            # The workers write their counters here, so that each of them can answer with the sum.
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        _run(settings, tls_options)


def refuse_open_port(settings: Settings) -> None:
    """Raise Invalid for mode none on an address other than loopback, where everybody would be an admin."""
    if (
        settings.identity.mode == "none"
        and not settings.identity.insecure_no_auth
        and not is_loopback(settings.bind_host)
    ):
        raise Invalid(
            f"Refusing to listen on {settings.bind_host}: the identity mode is none, so everyone who can reach the port"
            " could change every image. Set [identity] mode (OS_IDENTITY__MODE in the environment), for example to"
            " http_basic; or listen on 127.0.0.1; or accept this with --insecure-no-auth."
        )


def refuse_port_in_use(settings: Settings) -> None:
    """Raise Conflict if another program listens there; Granian would share the port with it."""
    host, port = settings.bind_host, settings.bind_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Conflict(f"Port {port} of {host} is in use by another program; choose one with --port.") from None
            raise Invalid(f"Cannot listen on {host} port {port}: {error.strerror}.") from None


async def prepare_database(url: str) -> None:
    """Create or upgrade an SQLite file; raise Conflict if a server's schema does not work with this program."""
    if parse_url(url).get_backend_name() == "sqlite":
        await schema.upgrade(url)
        return
    found = await schema.state(url)
    if found not in schema.USABLE:
        raise Conflict(schema.refusal(found))


def _run(settings: Settings, tls_options: dict[str, Any]) -> None:
    os.register_at_fork(before=_block_signals, after_in_parent=_unblock_signals)
    Granian(
        "glance_registry.app:build",
        address=settings.bind_host,
        port=settings.bind_port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        workers=settings.workers,
        backlog=BACKLOG,
        backpressure=_max_connections(settings.limits.connections),
        http1_settings=HTTP1Settings(
            header_read_timeout=settings.limits.request_timeout * 1000, max_buffer_size=MAX_BUFFER_BYTES
        ),
        workers_kill_timeout=MAX_SHUTDOWN_SECONDS,
        respawn_failed_workers=True,
        websockets=False,
        log_dictconfig=_GRANIAN_LOGS,
        ssl_protocol_min=SSLProtocols.tls12,  # API servers from before 2018 have no TLS 1.3.
        **tls_options,
    ).serve(target_loader=partial(_load, settings, os.getpid()), wrap_loader=False)


def _max_connections(wanted: int) -> int:
    """The number of connections: as many as wanted, or as the limit of open files allows."""
    _, max_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files))
    if max_files == resource.RLIM_INFINITY or wanted <= max_files - RESERVED_FILES:
        return wanted
    possible = max(16, max_files - RESERVED_FILES)
    log.warning(
        "fewer connections than [limits] connections: the system allows no more open files",
        extra={"fields": {"connections": possible}},
    )
    return possible


def _block_signals() -> None:
    """Block the stop signals before a worker is forked.

    A signal that arrives before Granian handles signals would be lost, and the program would wait for the worker
    until it kills it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)


def _finish_start(settings: Settings) -> None:
    """Unblock the stop signals in a worker as soon as it listens."""
    if close_unread_connections(settings.limits.request_timeout):
        _unblock_signals()
    else:
        asyncio.get_event_loop().call_later(POLL_SECONDS, _finish_start, settings)


def _exit_with_parent(parent: int) -> None:
    """Let the kernel stop this worker when the main process is killed; it would hold the port and the database.

    The kernel sends no signal for a parent that ended before this call.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        log.error("the main process is gone: this worker ends")
        logs.drain()
        os._exit(1)  # Nothing is open yet. An exception would not stop Granian.


def _load(settings: Settings, parent: int) -> Application:
    """Build the application in a worker process.

    Everything that is loaded by then stays in memory, so the garbage collector need not visit it again.
    """
    _exit_with_parent(parent)
    # A worker ends without running `atexit` functions.
    Finalize(None, logs.drain, exitpriority=0)
    asyncio.get_event_loop().call_soon(_finish_start, settings)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    application = build(settings, request_log=logs.RequestLog(settings.log_format))
    _stop_application_on_signal(asyncio.get_event_loop(), application, settings.bind_port)
    return application


def _stop_application_on_signal(loop: asyncio.AbstractEventLoop, application: Application, port: int) -> None:
    """Stop the application on SIGTERM and SIGINT at once, before Granian waits for all requests.

    Granian installs its handlers later, with `add_signal_handler`; this wraps that method of the loop.
    """
    add = loop.add_signal_handler

    def add_with_stop(number: int, handler: Any, *arguments: Any) -> None:
        def handle() -> None:
            application.stop()
            loop.call_later(CUT_SECONDS, cut_connections, port)
            handler(*arguments)

        add(number, handle)

    loop.add_signal_handler = add_with_stop  # type: ignore[assignment,method-assign]


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
