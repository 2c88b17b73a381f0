# SPDX-License-Identifier: Apache-2.0
"""Options of the server's sockets that Granian does not set."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path


def close_unread_connections(seconds: int) -> bool:
    """Let the system close a connection whose client reads nothing for this long, or has vanished.

    The server has no time limit for that and would hold the answer in memory. Connections inherit the option from the
    listening socket. Granian does not give access to it, so this searches the open files of the process. Only Linux
    has the option.

    Returns False, without any effect, while the process does not listen yet.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(found) for found in _own_sockets()]
        listening = {_port(found) for found in sockets if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)}
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            for found in sockets:
                if _port(found) in listening:  # Also connections that were accepted meanwhile.
                    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, seconds * 1000)
        return bool(listening)


def cut_connections(port: int) -> int:
    """Cut the connections of clients to this port of the process; the number of them.

    When the program stops, the server waits for every client to take its answer, and one may take nothing.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(found) for found in _own_sockets()]
        connections = [found for found in sockets if _port(found) == port]
        for connection in connections:
            with suppress(OSError):  # It was closed meanwhile, or listens.
                connection.shutdown(socket.SHUT_RDWR)
        return len(connections)


def _own_sockets() -> Iterator[socket.socket]:
    """The TCP sockets of this process, each as a duplicate that the caller must close."""
    for file in Path("/dev/fd").iterdir():
        with suppress(OSError):  # The listing has its own file, which is closed by now.
            if stat.S_ISSOCK(os.fstat(int(file.name)).st_mode):
                found = socket.socket(fileno=os.dup(int(file.name)))
                if found.family in {socket.AF_INET, socket.AF_INET6} and found.type == socket.SOCK_STREAM:
                    yield found
                else:
                    found.close()


def _port(tcp: socket.socket) -> int:
    return int(tcp.getsockname()[1])
