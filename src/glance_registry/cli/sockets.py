# SPDX-License-Identifier: Apache-2.0
"""What the server leaves to the system about its connections."""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path


def cut_off_who_does_not_read(seconds: int) -> None:
    """Let the system end a connection whose client takes nothing of an answer for so long, or is gone without a word.

    The server has no time limit for that, and would keep the answer. Connections inherit the option from the socket
    that listens, which the server does not hand out: so it is looked for among this process's own files. Linux only.
    """
    if sys.platform != "linux":
        return
    for file in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(file.name))) as found:  # Most are no sockets.
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, seconds * 1000)
