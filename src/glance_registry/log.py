# SPDX-License-Identifier: Apache-2.0
"""Log lines on standard output: text on a terminal, JSON otherwise. Fields travel in `extra={"fields": …}`."""

import asyncio
import logging
import sys
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

_encode_lines = msgspec.json.Encoder().encode_lines


FLUSH_SECONDS = 0.01
"""Lines of requests wait this long for others, to be written with them."""


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
        self._lines: list[_Line] = []

    def add(self, request_id: str, method: str, route: str, status: int, seconds: float) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        milliseconds = round(seconds * 1000, 2)
        line = _Line(_now(), "info", "request", request_id, method, route, status, milliseconds)
        self._lines.append(line)

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        try:
            sys.stdout.buffer.write(b"".join(map(_as_text, lines)) if self._is_text else _encode_lines(lines))
            sys.stdout.buffer.flush()
        except OSError:
            logging.getLogger(__name__).exception("lines of requests were lost")


def _as_text(line: _Line) -> bytes:
    fields = " ".join(f"{name}={getattr(line, name)}" for name in _REQUEST_FIELDS)
    return f"{line.time[11:23]} info    request {fields}\n".encode()


def is_text(form: str) -> bool:
    return form == "text" or (form == "auto" and sys.stdout.isatty())


def configure(form: str) -> None:
    """Send what is logged to standard output; `form` is text, json or auto."""
    as_text = is_text(form)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    # No line shows these; gathering them would cost more than the rest of a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for chatty in ("alembic", "httpx", "_granian"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


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
