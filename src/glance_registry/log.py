# SPDX-License-Identifier: Apache-2.0
"""Log lines on standard output: text on a terminal, JSON otherwise. Fields travel in `extra={"fields": …}`.

Nothing that logs waits for the reader: lines go through a bounded buffer, and a thread writes them. What the buffer
cannot hold is dropped and counted.
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
"""Lines of requests wait this long for others, to be written with them."""

MAX_WAITING_BYTES = 1_048_576
"""Lines that wait for the reader, in one process; more are dropped."""

DRAIN_SECONDS = 2
"""How long the end of the program waits for a reader that takes nothing."""

MAX_DRAIN_SECONDS = 10
"""How long it waits for one that is slow."""


class Output:
    """Lines on their way to a file descriptor. `write` never blocks; `drain` waits a bounded time.

    The descriptor is left as it is: O_NONBLOCK would hold for every program that shares the pipe or terminal, and a
    socket or another user's pipe cannot be opened anew. So a thread of its own may block. A fork begins with an empty
    buffer.
    """

    def __init__(self, descriptor: int, form: str, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self.descriptor = descriptor
        self._form = form
        self._max_bytes = max_bytes
        self._count_lost: Callable[[int], None] | None = None
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._bytes = 0  # Of what waits, and of what is being written.
        self._written = 0
        self._lost = 0  # Lines that no report has told of.
        self._failed = False
        self._is_cut = False
        self._thread: threading.Thread | None = None

    def on_loss(self, count: Callable[[int], None]) -> None:
        """Call this with the number of lines whenever some are lost."""
        self._count_lost = count

    def write(self, lines: bytes) -> None:
        """Hand over whole lines, or lose them."""
        with self._changed:
            is_lost = self._bytes + len(lines) > self._max_bytes
            if is_lost:
                self._lost += _count(lines)
            else:
                self._waiting.append(lines)
                self._bytes += len(lines)
                self._start()
                self._changed.notify_all()
        if is_lost:
            self._tell(_count(lines))

    def drain(self) -> None:
        """Wait until all is written, or until the reader does not take it."""
        end = time.monotonic() + MAX_DRAIN_SECONDS
        with self._changed:
            while (self._bytes or self._owes_report()) and time.monotonic() < end:
                before = self._written
                if not self._changed.wait(DRAIN_SECONDS) and self._written == before:
                    return

    def _owes_report(self) -> bool:
        # After an error the next line tries again; the report alone would try without end.
        return self._lost > 0 and not self._failed

    def _tell(self, lost: int) -> None:
        if self._count_lost is not None and lost:
            self._count_lost(lost)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            # Signals are the main thread's: one that came to this thread would not wake it.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                self._thread.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._owes_report():
                    self._changed.wait()
                batch, self._waiting = b"".join(self._waiting), []
                lost, self._lost = self._lost, 0
            left = self._write_all(batch + (_report(lost, self._form) if lost else b""))
            lost_now = max(0, _count(left) - (lost > 0))
            with self._changed:
                self._failed = bool(left)
                if left:
                    self._lost += lost + lost_now
                self._bytes -= len(batch)
                self._changed.notify_all()
            self._tell(lost_now)

    def _write_all(self, lines: bytes) -> bytes:
        """Write them; blocks. Returns what an error such as a full disk has left."""
        if self._is_cut:
            lines = b"\n" + lines
        done = 0
        while done < len(lines):
            try:
                written = os.write(self.descriptor, memoryview(lines)[done : _end_of_piece(lines, done)])
            except BlockingIOError:  # Another program made it non-blocking.
                waiting = select.poll()
                waiting.register(self.descriptor, select.POLLOUT)
                waiting.poll()
                continue
            except OSError:
                break
            done += written
            self._is_cut = lines[done - 1] != ord("\n")
            with self._changed:
                self._written += written
                self._changed.notify_all()
        return lines[done:]


def _end_of_piece(lines: bytes, start: int) -> int:
    """As many whole lines as a pipe takes at once: then other processes' lines come between these, not into them."""
    if len(lines) - start <= select.PIPE_BUF:
        return len(lines)
    end = lines.rfind(b"\n", start, start + select.PIPE_BUF)
    if end < 0:
        end = lines.find(b"\n", start)
    return end + 1 if end >= 0 else len(lines)


def _count(lines: bytes) -> int:
    return lines.count(b"\n")


def _report(lost: int, form: str) -> bytes:
    fields = {"lines": lost}
    warning = {"levelname": "WARNING", "levelno": logging.WARNING, "msg": "log lines were lost", "fields": fields}
    return f"{_formatter(form).format(logging.makeLogRecord(warning))}\n".encode()


class _Bytes(io.RawIOBase):
    """An output as Python's streams want it."""

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


def _output(descriptor: int, form: str) -> Output:
    if descriptor not in _outputs:
        _outputs[descriptor] = Output(descriptor, form)
    return _outputs[descriptor]


def _stream(descriptor: int, form: str) -> io.TextIOWrapper:
    raw: Any = _Bytes(_output(descriptor, form))
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def drain() -> None:
    """Before the process ends: let what was logged be written, if its reader takes it."""
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
    """One line a request, past the logging module, whose records cost more than all else that is done with a request.

    Lines are written a moment later, together: a process that is killed loses those of its last hundredth of a second.
    """

    def __init__(self, form: str) -> None:
        self._is_text = is_text(form)
        self._output = _output(_STDOUT, form)
        self._lines: list[_Line] = []

    def add(self, request_id: str, method: str, route: str, status: int, seconds: float) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        milliseconds = round(seconds * 1000, 2)
        line = _Line(_now(), "info", "request", request_id, method, route, status, milliseconds)
        self._lines.append(line)

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        # What `take_over` has put there does not wait.
        sys.stdout.buffer.write(b"".join(map(_as_text, lines)) if self._is_text else _encode_lines(lines))
        sys.stdout.buffer.flush()

    def on_loss(self, count: Callable[[int], None]) -> None:
        """Call this with the number of lines whenever the reader of the log does not take some."""
        self._output.on_loss(count)


def _as_text(line: _Line) -> bytes:
    fields = " ".join(f"{name}={getattr(line, name)}" for name in _REQUEST_FIELDS)
    return f"{line.time[11:23]} info    request {fields}\n".encode()


def is_text(form: str) -> bool:
    return form == "text" or (form == "auto" and os.isatty(_STDOUT))


def _formatter(form: str) -> logging.Formatter:
    return TextFormatter() if is_text(form) else JsonFormatter()


def configure(form: str) -> None:
    """Send what is logged to standard output; `form` is text, json or auto."""
    atexit.register(drain)
    handler = logging.StreamHandler(_stream(_STDOUT, form))
    handler.setFormatter(_formatter(form))
    # No line shows these; gathering them would cost more than the rest of a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for chatty in ("alembic", "httpx", "_granian"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def take_over(form: str) -> None:
    """From here on nothing that the process prints waits for its reader, traces on standard error included."""
    sys.stdout, sys.stderr = _stream(_STDOUT, form), _stream(_STDERR, form)


class JsonFormatter(logging.Formatter):
    """One JSON object a line; whatever a field holds, it cannot start a second line."""

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
    """For people: time, level, message, then the fields."""

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
    """Of the many lines that a second has, the first makes it a text."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:23] + "Z"
