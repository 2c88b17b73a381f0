# SPDX-License-Identifier: Apache-2.0
"""The check of each request's Host header: the names under which the registry is served.

A page of another site can let its own name lead to 127.0.0.1 (DNS rebinding). A browser then sends that page's requests
here as if they were its own site's, but still with that name in Host. Source: RFC 9110, sections 7.2 and 15.5.20; RFC
9112, section 3.2; RFC 6761, section 6.3.
"""

import ipaddress
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import Scope

from glance_registry.api.errors import Misdirected
from glance_registry.model.errors import Invalid

MAX_REMEMBERED_HOSTS = 256
"""Checked values of Host that are remembered."""

_NAME = re.compile(r"[a-z0-9._-]{1,255}")
_HOST = re.compile(r"(?:([A-Za-z0-9._-]{1,255})|\[([0-9A-Fa-f:.]{2,45})\])(?::\d{0,5})?")
# Servers write the version of HTTP/1.0 as one or the other.
_WITHOUT_HOST = frozenset({"1", "1.0"})


class HostCheck:
    """Checks that a request names the registry by one of its names. Without names, any name that is one will do.

    Names of loopback are always among them: no name of another site is one of these.
    """

    def __init__(self, names: Iterable[str] | None) -> None:
        """Raises Invalid for what is no name and no address. None: every name is served."""
        self._names = None if names is None else frozenset(_normal(name) for name in names)
        self._find_fault = lru_cache(MAX_REMEMBERED_HOSTS)(self._check)

    def __call__(self, scope: Scope) -> None:
        """Raise Misdirected for a name that is not ours, Invalid when there is no host, or more than one."""
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        # The server gives an empty value when the header is missing.
        if len(hosts) == 1 and hosts[0]:
            self._find_fault(hosts[0])
        elif len(hosts) > 1:
            raise Invalid("Header 'Host' came more than once.")
        elif scope.get("http_version") not in _WITHOUT_HOST:
            raise Invalid("Header 'Host' is missing.")

    def _check(self, given: bytes) -> None:
        found = _HOST.fullmatch(given.decode("latin-1"))
        if found is None:
            raise Invalid("Header 'Host' is not a name or an address, with or without a port.")
        name = _normal(found[1] or found[2])
        if self._names is not None and name not in self._names and not is_loopback(name):
            raise Misdirected(
                f"The registry is not served under the name '{name}'. Its operator can add names:"
                " [DEFAULT] allowed_hosts."
            )


def check_for(mode_none: bool, host: str, allowed_hosts: Iterable[str], public_endpoint: str) -> HostCheck:
    """The check for these settings. Raises Invalid for a name that cannot be one.

    In mode none on loopback every program of this machine is an admin, and a web page must not use the browser for
    that: there names are always checked. Elsewhere they are checked when the operator has named some.
    """
    names = list(allowed_hosts)
    if not names and not (mode_none and is_loopback(host)):
        return HostCheck(None)
    try:
        own = urlsplit(public_endpoint).hostname
    except ValueError:
        raise Invalid("[DEFAULT] public_endpoint is not a URL.") from None
    return HostCheck([*names, own] if own else names)


def is_loopback(host: str) -> bool:
    """Whether only this machine's own programs reach this name or address."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _normal(name: str) -> str:
    """A name in lower case, without the root's dot; an address as its family writes it. Raises Invalid."""
    with suppress(ValueError):
        return str(ipaddress.ip_address(name[1:-1] if name[:1] + name[-1:] == "[]" else name))
    bare = name.lower().removesuffix(".")
    if not _NAME.fullmatch(bare):
        raise Invalid(f"'{name}' is not the name or the address of a host; [DEFAULT] allowed_hosts has no ports.")
    return bare
