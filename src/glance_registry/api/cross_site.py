# SPDX-License-Identifier: Apache-2.0
"""Requests that a browser sends for the page of another site.

A browser adds its user's credentials by itself: a password that it knows, a cookie, or only its own address. Changes by
such requests are refused. Other clients send neither of the headers that are checked here.
Source: Fetch Metadata Request Headers, section 2; RFC 6454, section 7.
"""

from urllib.parse import urlsplit

from starlette.types import Scope

from glance_registry.model.errors import Forbidden

SAFE = frozenset({"GET", "HEAD"})
_OURS = frozenset({b"same-origin", b"none"})


def check_site(scope: Scope) -> None:
    """Raise Forbidden for a change that another site's page asks for."""
    headers = dict(scope["headers"])
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site is not None:
        ours = site in _OURS
    else:
        # Browsers say the first only where they trust the connection; for plain HTTP they say where the page is from.
        ours = origin is None or _host(origin) == headers.get(b"host", b"").decode("latin-1").lower()
    if not ours:
        raise Forbidden("A page of another site may not change anything here.")


def _host(origin: bytes) -> str:
    """`registry.example:9191` of `https://registry.example:9191`; empty for what is no origin."""
    try:
        return urlsplit(origin.decode("latin-1").lower()).netloc
    except ValueError:
        return ""
