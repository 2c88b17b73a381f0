# SPDX-License-Identifier: Apache-2.0
"""Uploads or downloads at once, in a process of its own: `python -m bench.transfer_load`, JSON on both ends.

It takes as little CPU time as a client can: a file goes into the socket by sendfile(2), and what comes out of one is
dropped by the kernel.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import msgspec
from msgspec import Struct

PREFIX_BYTES = 16
"""At the beginning of an upload, different in each: the program stores the same bytes only once."""

_MESSAGE_BYTES = 1_048_576


class Transfers(Struct, kw_only=True, frozen=True):
    """What moves at once: one transfer for each path."""

    port: int
    method: str
    paths: list[str]
    headers: dict[str, str]
    size: int
    """Bytes of each."""
    file: str
    """What is uploaded."""
    serial: int = 0


class Moved(Struct, kw_only=True, frozen=True):
    seconds: float
    """From the first connection to the last answer's end."""
    cpu: float
    """CPU seconds of the clients."""


class TransferError(Exception):
    """An answer was neither 200 nor 204, or ended too early."""


def apply(transfers: Transfers) -> Moved:
    """Run transfers in a process of their own. Raises TransferError."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.transfer_load"],
        input=msgspec.json.encode(transfers),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise TransferError(done.stderr.decode()[-2000:])
    return msgspec.json.decode(done.stdout, type=Moved)


def _move(transfers: Transfers, number: int, failures: list[Exception]) -> None:
    try:
        with socket.create_connection(("127.0.0.1", transfers.port), timeout=600) as connection:
            head = request(transfers, number)
            connection.sendall(head)
            if transfers.method == "PUT":
                with suppress(ConnectionError):  # A refusal comes early; the answer says why.
                    _send(connection, transfers)
            _read_answer(connection, transfers)
    except Exception as error:
        failures.append(error)


def request(transfers: Transfers, number: int) -> bytes:
    """A request's head; of an upload also the bytes that differ in each."""
    fields = {"Host": "127.0.0.1", **transfers.headers}
    if transfers.method == "PUT":
        fields |= {"Content-Type": "application/octet-stream", "Content-Length": str(transfers.size)}
    lines = [f"{transfers.method} {transfers.paths[number]} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items())]
    head = "\r\n".join([*lines, "", ""]).encode()
    return head + f"{transfers.serial:012}{number:04}".encode() if transfers.method == "PUT" else head


def _send(connection: socket.socket, transfers: Transfers) -> None:
    descriptor = os.open(transfers.file, os.O_RDONLY)
    try:
        sent = PREFIX_BYTES
        connection.setblocking(True)  # sendfile knows no timeout.
        while sent < transfers.size:
            sent += os.sendfile(connection.fileno(), descriptor, sent, min(1 << 24, transfers.size - sent))
    finally:
        os.close(descriptor)


def _read_answer(connection: socket.socket, transfers: Transfers) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(65_536)
        if not more:
            raise TransferError(f"The connection was closed after {received!r}.")
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 204")):
        raise TransferError(received.decode(errors="replace"))
    left = transfers.size - len(body) if transfers.method == "GET" else 0
    buffer = bytearray(_MESSAGE_BYTES)
    while left > 0:
        count = connection.recv_into(buffer, min(left, _MESSAGE_BYTES), socket.MSG_TRUNC)
        if not count:
            raise TransferError(f"{left} bytes are missing.")
        left -= count


def main() -> None:
    transfers = msgspec.json.decode(sys.stdin.buffer.read(), type=Transfers)
    failures: list[Exception] = []
    threads = [
        threading.Thread(target=_move, args=(transfers, number, failures)) for number in range(len(transfers.paths))
    ]
    started, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    moved = Moved(seconds=time.perf_counter() - started, cpu=time.process_time() - cpu)
    if failures:
        raise failures[0]
    sys.stdout.buffer.write(msgspec.json.encode(moved))


if __name__ == "__main__":
    main()
