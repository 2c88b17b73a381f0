# SPDX-License-Identifier: Apache-2.0
"""From values to a page. Everything that is shown is escaped: what images are called comes from their owners."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from hashlib import blake2b
from http import HTTPStatus
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, Header
from glance_registry.model.visible import LAYOUT, NONE, pieces, printable

FOLDER = Path(__file__).parent
PATH = "/ui"

_ALLOWED = (
    b"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_POLICY = (b"content-security-policy", _ALLOWED)
# The header Origin of a form comes only with a referrer: `cross_site.py` reads it.
_REFERRER = (b"referrer-policy", b"same-origin")
_FOR_EVER = (b"cache-control", b"public, max-age=31536000, immutable")
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_MEDIA_TYPES = {".css": b"text/css; charset=utf-8", ".svg": b"image/svg+xml"}


def answer_page(template: str, status: int = 200, headers: Sequence[Header] = (), **values: Any) -> Answer:
    """A template in `templates/` with its values as an answer."""
    body = _environment().get_template(template).render(**values).encode(errors="replace")
    return Answer(body, b"text/html; charset=utf-8", status, (_POLICY, _REFERRER, *headers))


def redirect(path: str, headers: Sequence[Header] = ()) -> Answer:
    """303: what was sent is done; show this path now."""
    return Answer(b"", b"text/plain; charset=utf-8", HTTPStatus.SEE_OTHER, ((b"location", path.encode()), *headers))


async def show_file(request: Request) -> Answer:
    """A file of the pages' looks. Its address names its content, so browsers keep it."""
    file = FOLDER / "static" / request.scope["path"].rpartition("/")[2]
    answer = Answer(file.read_bytes(), _MEDIA_TYPES[file.suffix])
    answer.cache_control = _FOR_EVER
    return answer


def as_size(size: int | None) -> str:
    """`398 MiB`; nothing when it is not known."""
    if size is None:
        return ""
    amount, unit = float(size), _UNITS[0]
    for unit in _UNITS:
        if amount < 1024 or unit == _UNITS[-1]:
            break
        amount /= 1024
    return f"{size} bytes" if unit == _UNITS[0] else f"{amount:.3g} {unit}" if amount < 1000 else f"{amount:.0f} {unit}"


def as_time(instant: datetime) -> str:
    """`2026-11-23 09:36`, in UTC."""
    return f"{instant:%Y-%m-%d %H:%M}"


def as_shown(text: str, several_lines: bool = False) -> Markup:
    """Text of a client, escaped, with a mark for each character that cannot be seen or that misleads a reader."""
    shown = LAYOUT if several_lines else NONE
    mark = Markup('<span class="mark">{}</span>')
    return Markup("").join(mark.format(piece) if hidden else piece for piece, hidden in pieces(text, shown))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(size=as_size, time=as_time, shown=as_shown, printable=printable)
    environment.globals.update(path=PATH, address=_address)
    return environment


@cache
def _address(name: str) -> str:
    """Where a file of `static/` is, with its content's digest."""
    digest = blake2b((FOLDER / "static" / name).read_bytes(), digest_size=6).hexdigest()
    return f"{PATH}/{name}?{digest}"
