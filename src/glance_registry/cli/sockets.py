# SPDX-License-Identifier: Apache-2.0
"""What the server leaves to the system about its connections."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path


def cut_off_who_does_not_read(seconds: int) -> bool:
    """Let the system end a connection whose client takes nothing of an answer for so long, or is gone without a word.

    The server has no time limit for that, and would keep the answer. Connections inherit the option from the socket
    that listens, which the server does not hand out: so it is looked for among this process's own files. Systems other
    than Linux have no such option.

    Returns False, having done nothing, while the process does not listen yet.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(found) for found in _own_sockets()]
        listening = {_port(found) for found in sockets if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)}
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            for found in sockets:
                if _port(found) in listening:  # Also who came since then.
                    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, seconds * 1000)
        return bool(listening)


def _own_sockets() -> Iterator[socket.socket]:
    """The TCP sockets that are open in this process, each by a file of its own, to be closed."""
    for file in Path("/dev/fd").iterdir():
        with suppress(OSError):  # The file with which the folder is read is closed by now.
            if stat.S_ISSOCK(os.fstat(int(file.name)).st_mode):
                found = socket.socket(fileno=os.dup(int(file.name)))
                if found.family in {socket.AF_INET, socket.AF_INET6} and found.type == socket.SOCK_STREAM:
                    yield found
                else:
                    found.close()


def _port(tcp: socket.socket) -> int:
    return int(tcp.getsockname()[1])
