# SPDX-License-Identifier: Apache-2.0
"""Mode http_basic: passwords in an htpasswd file, projects and roles in a users file.

Source: RFC 7617. A request without credentials is 401, also on public images.
"""

import base64
import binascii
import re
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from glance_registry.api.identity import Identify
from glance_registry.api.identity.accounts import NO_RIGHTS, Accounts, WatchedAccounts
from glance_registry.api.identity.guesses import Source
from glance_registry.api.identity.header import sole_header
from glance_registry.api.identity.passwords import verify
from glance_registry.api.identity.slow_check import Passed, SlowChecks
from glance_registry.api.request import Request
from glance_registry.model.access import Caller, identified
from glance_registry.model.errors import Invalid, Unauthorized
from glance_registry.threads import lower_priority

CHALLENGE = 'Basic realm="glance-registry", charset="UTF-8"'
REMEMBER_SECONDS = 60
THREADS = 2
"""An argon2 check needs 64 MiB and one core."""
_MAX_HEADER_LENGTH = 8192
_CONTROL_CHARACTER = re.compile(rb"[\x00-\x1f\x7f]")


def check_passwords(
    htpasswd_file: str, users_file: str, writer_roles: Iterable[str], clock: Callable[[], float] = time.monotonic
) -> Identify:
    """Identify callers by name and password. Raises Invalid if a file cannot be used."""
    for name, file in (("htpasswd_file", htpasswd_file), ("users_file", users_file)):
        if not file:
            raise Invalid(f"The identity mode http_basic needs the setting [identity] {name}.")
    accounts = WatchedAccounts(Path(htpasswd_file), Path(users_file), clock)
    checks = SlowChecks[Caller](REMEMBER_SECONDS, THREADS, clock, lower_priority)
    writers = frozenset(role.lower() for role in writer_roles)

    async def identify(request: Request) -> Caller:
        header = sole_header(request, "authorization")
        if header is None:
            raise Unauthorized("This registry requires a user name and a password.", CHALLENGE)
        credentials = _read_basic(header)
        known = accounts.current()
        client = request.scope.get("client")
        source = Source(client[0] if client else "", _name_in(credentials))
        # The version makes remembered results invalid when a file changes.
        version = str(accounts.version).encode()
        return await checks.run(credentials, partial(_check, credentials, known, writers), source, version)

    return identify


def _read_basic(header: str) -> bytes:
    """The `name:password` of an Authorization header. Raises Unauthorized for a malformed one."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic" or len(header) > _MAX_HEADER_LENGTH:
        raise _wrong()
    try:
        credentials = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise _wrong() from None
    # "The user-id and password MUST NOT contain any control characters."
    if b":" not in credentials or _CONTROL_CHARACTER.search(credentials):
        raise _wrong()
    return credentials


def _check(credentials: bytes, accounts: Accounts, writer_roles: frozenset[str]) -> Passed[Caller]:
    """Check a password, in a thread.

    Raises Unauthorized, with the same sentence for a wrong name and a wrong password.
    """
    # "The first colon in a user-pass string separates user and password": a password may have more.
    _, _, password = credentials.partition(b":")
    name = _name_in(credentials)
    matches = verify(accounts.hash_for(name), password)
    if not matches or name not in accounts.hashes:
        raise _wrong()
    person = accounts.people.get(name, NO_RIGHTS)
    return Passed(identified(name, person.project, person.roles, writer_roles))


def _name_in(credentials: bytes) -> str:
    # Bytes that are not UTF-8 become a name that no UTF-8 file can contain.
    return credentials.partition(b":")[0].decode(errors="surrogateescape")


def _wrong() -> Unauthorized:
    return Unauthorized("The user name or the password is wrong.", CHALLENGE)
