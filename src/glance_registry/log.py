# SPDX-License-Identifier: Apache-2.0
"""Log lines on standard output: text on a terminal, JSON otherwise. Fields travel in `extra={"fields": …}`.

Logging never waits for the reader of the log: lines go through a bounded buffer, and a thread writes them. Lines that
do not fit are dropped and counted.
"""

import asyncio
import atexit
import io
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

_encode_lines = msgspec.json.Encoder().encode_lines

_STDOUT, _STDERR = 1, 2

FLUSH_SECONDS = 0.01
"""Request lines wait this long, to be written together with others."""

MAX_WAITING_BYTES = 1_048_576
"""Limit of the buffer in one process; further lines are dropped."""

DRAIN_SECONDS = 2
"""How long the program waits at its end for a reader that reads nothing."""

MAX_DRAIN_SECONDS = 10
"""How long it waits for a slow reader."""


class Output:
    """A buffer of lines for a file descriptor. `write` never blocks; `drain` waits a limited time.

    A thread writes the lines and may block. O_NONBLOCK is no alternative: it would change the pipe or terminal for
    every program that shares it, and a socket or another user's pipe cannot be opened again. A forked process starts
    with an empty buffer.
    """

    def __init__(self, descriptor: int, log_format: str, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self.descriptor = descriptor
        self._log_format = log_format
        self._max_bytes = max_bytes
        self._count_lost: Callable[[int], None] | None = None
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._bytes = 0  # Of lines that wait or are being written.
        self._written = 0
        self._lost = 0  # Lines that were lost since the last report.
        self._failed = False
        self._is_mid_line = False
        self._thread: threading.Thread | None = None

    def on_loss(self, count: Callable[[int], None]) -> None:
        """Call this function with the number of lines whenever some are lost."""
        self._count_lost = count

    def write(self, lines: bytes) -> None:
        """Add complete lines to the buffer, or drop them if it is full."""
        with self._changed:
            is_lost = self._bytes + len(lines) > self._max_bytes
            if is_lost:
                self._lost += _count_lines(lines)
            else:
                self._waiting.append(lines)
                self._bytes += len(lines)
                self._start()
                self._changed.notify_all()
        if is_lost:
            self._notify_loss(_count_lines(lines))

    def drain(self) -> None:
        """Wait until everything is written or the reader stops reading."""
        end = time.monotonic() + MAX_DRAIN_SECONDS
        with self._changed:
            while (self._bytes or self._has_report()) and time.monotonic() < end:
                before = self._written
                if not self._changed.wait(DRAIN_SECONDS) and self._written == before:
                    return

    def _has_report(self) -> bool:
        # After an error only a new line starts another attempt; the report alone would try for ever.
        return self._lost > 0 and not self._failed

    def _notify_loss(self, lost: int) -> None:
        if self._count_lost is not None and lost:
            self._count_lost(lost)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            # Signals must go to the main thread: one that this thread gets would not wake it.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                self._thread.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._has_report():
                    self._changed.wait()
                batch, self._waiting = b"".join(self._waiting), []
                lost, self._lost = self._lost, 0
            left = self._write_all(batch + (_report(lost, self._log_format) if lost else b""))
            lost_now = max(0, _count_lines(left) - (lost > 0))
            with self._changed:
                self._failed = bool(left)
                if left:
                    self._lost += lost + lost_now
                self._bytes -= len(batch)
                self._changed.notify_all()
            self._notify_loss(lost_now)

    def _write_all(self, lines: bytes) -> bytes:
        """Write the lines; may block. Returns the rest after an error such as a full disk."""
        if self._is_mid_line:
            lines = b"\n" + lines
        position = 0
        while position < len(lines):
            try:
                written = os.write(self.descriptor, memoryview(lines)[position : _end_of_piece(lines, position)])
            except BlockingIOError:  # Another program made the descriptor non-blocking.
                poll = select.poll()
                poll.register(self.descriptor, select.POLLOUT)
                poll.poll()
                continue
            except OSError:
                break
            position += written
            self._is_mid_line = lines[position - 1] != ord("\n")
            with self._changed:
                self._written += written
                self._changed.notify_all()
        return lines[position:]


def _end_of_piece(lines: bytes, start: int) -> int:
    """The end of the lines that a pipe takes in one piece, so that lines of several processes do not mix."""
    if len(lines) - start <= select.PIPE_BUF:
        return len(lines)
    end = lines.rfind(b"\n", start, start + select.PIPE_BUF)
    if end < 0:
        end = lines.find(b"\n", start)
    return end + 1 if end >= 0 else len(lines)


def _count_lines(lines: bytes) -> int:
    return lines.count(b"\n")


def _report(lost: int, log_format: str) -> bytes:
    fields = {"lines": lost}
    warning = {"levelname": "WARNING", "levelno": logging.WARNING, "msg": "log lines were lost", "fields": fields}
    return f"{_formatter(log_format).format(logging.makeLogRecord(warning))}\n".encode()


class _Bytes(io.RawIOBase):
    """The interface of a Python stream for an output."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def write(self, lines: Any) -> int:
        given = bytes(lines)
        self._output.write(given)
        return len(given)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._output.descriptor

    def isatty(self) -> bool:
        return os.isatty(self._output.descriptor)


_outputs: dict[int, Output] = {}


def _output(descriptor: int, log_format: str) -> Output:
    if descriptor not in _outputs:
        _outputs[descriptor] = Output(descriptor, log_format)
    return _outputs[descriptor]


def _stream(descriptor: int, log_format: str) -> io.TextIOWrapper:
    raw: Any = _Bytes(_output(descriptor, log_format))
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def drain() -> None:
    """Wait at the end of the process until the log is written, if its reader reads it."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for output in _outputs.values():
        output.drain()


class _Line(Struct):
    time: str
    level: str
    event: str
    request_id: str
    method: str
    route: str
    status: int
    ms: float


_REQUEST_FIELDS = ("request_id", "method", "route", "status", "ms")


class RequestLog:
    """Writes one line per request, without the logging module, which would cost more than the rest of a request.

    Lines are written together, a moment later. A killed process loses those of its last hundredth of a second.
    """

    def __init__(self, log_format: str) -> None:
        self._is_text = is_text(log_format)
        self._output = _output(_STDOUT, log_format)
        self._lines: list[_Line] = []

    def add(self, request_id: str, method: str, route: str, status: int, seconds: float) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        milliseconds = round(seconds * 1000, 2)
        line = _Line(_now(), "info", "request", request_id, method, route, status, milliseconds)
        self._lines.append(line)

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        # `take_over` has replaced this stream by one that does not block.
        sys.stdout.buffer.write(b"".join(map(_as_text, lines)) if self._is_text else _encode_lines(lines))
        sys.stdout.buffer.flush()

    def on_loss(self, count: Callable[[int], None]) -> None:
        """Call this function with the number of lines whenever some are lost."""
        self._output.on_loss(count)


def _as_text(line: _Line) -> bytes:
    fields = " ".join(f"{name}={getattr(line, name)}" for name in _REQUEST_FIELDS)
    return f"{line.time[11:23]} info    request {fields}\n".encode()


def is_text(log_format: str) -> bool:
    return log_format == "text" or (log_format == "auto" and os.isatty(_STDOUT))


def _formatter(log_format: str) -> logging.Formatter:
    return TextFormatter() if is_text(log_format) else JsonFormatter()


def configure(log_format: str) -> None:
    """Send log lines to standard output; `log_format` is text, json or auto."""
    atexit.register(drain)
    handler = logging.StreamHandler(_stream(_STDOUT, log_format))
    handler.setFormatter(_formatter(log_format))
    # No line shows these fields, and collecting them costs more than the rest of a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for verbose in ("alembic", "httpx", "_granian"):
        logging.getLogger(verbose).setLevel(logging.WARNING)


def take_over(log_format: str) -> None:
    """Replace standard output and standard error by streams that never block."""
    sys.stdout, sys.stderr = _stream(_STDOUT, log_format), _stream(_STDERR, log_format)


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object on one line, whatever its fields contain."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class TextFormatter(logging.Formatter):
    """Formats a record for people: time, level, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in getattr(record, "fields", {}).items())
        line = f"{_time(record)[11:23]} {record.levelname.lower():<7} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _time(record: logging.LogRecord) -> str:
    return _timestamp(record.created)


def _now() -> str:
    seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{_second(seconds)}.{milliseconds:03}Z"


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    """The second as text, cached because many lines have the same one."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:23] + "Z"
