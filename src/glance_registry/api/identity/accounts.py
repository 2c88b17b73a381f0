# SPDX-License-Identifier: Apache-2.0
"""The two files behind mode http_basic, read: names with hashes of passwords, and each user's project and roles."""

import configparser
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from glance_registry.api.identity.passwords import STRANGER, decoy_of, kind_of
from glance_registry.model.errors import IdentityUnavailable, Invalid

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 1
_OPTIONS = {"project", "roles"}


class Person(Struct, frozen=True, kw_only=True):
    """What the users file says of a user."""

    project: str | None = None
    roles: frozenset[str] = frozenset()


NOBODY_IN_PARTICULAR = Person()
"""A user who has a password and no section: authenticated, no project, no roles."""


class Accounts(Struct, frozen=True, kw_only=True):
    """Both files, as they were at one moment. All hashes are of accepted kinds."""

    hashes: Mapping[str, str]
    people: Mapping[str, Person]
    decoys: tuple[str, ...]

    def hash_for(self, name: str) -> str:
        """The user's hash; for an unknown name one that no password fits.

        Its cost is that of some user's hash, the same one each time, so that the time to an answer tells no names.
        """
        return self.hashes.get(name) or self.decoys[hash(name) % len(self.decoys)]


def read_accounts(htpasswd_file: Path, users_file: Path) -> Accounts:
    """Raises Invalid, naming the file and the user but never a hash."""
    hashes = parse_htpasswd(read_text(htpasswd_file), htpasswd_file)
    for name, hashed in hashes.items():
        if kind_of(hashed) is None:
            raise Invalid(
                f"{htpasswd_file}: the password of user '{name}' is neither an argon2 nor a bcrypt hash. Remove the"
                " line and add the user again with `glance-registry user add`."
            )
    return Accounts(
        hashes=hashes,
        people=parse_users(read_text(users_file), users_file),
        decoys=tuple(decoy_of(hashed) for hashed in hashes.values()) or (STRANGER,),
    )


def read_text(file: Path) -> str:
    """Raises Invalid for a file that cannot be read or is not UTF-8."""
    try:
        # Not read_text: whoever writes the file again must find the ends of its lines as they were.
        return file.read_bytes().decode()
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Invalid(f"{file} is not in UTF-8.") from None


def parse_htpasswd(text: str, file: Path) -> dict[str, str]:
    """Names and hashes, of whatever kind. Raises Invalid for a line that is neither `name:hash` nor a comment."""
    hashes: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, hashed = line.rstrip().partition(":")
        if not (name and colon and hashed):
            raise Invalid(f"{file}: line {number} is not of the form name:hash.")
        if name in hashes:
            raise Invalid(f"{file}: user '{name}' is there twice.")
        hashes[name] = hashed
    return hashes


def parse_users(text: str, file: Path) -> dict[str, Person]:
    """Raises Invalid for what is not INI, comes twice, or is an option that a user does not have."""
    # `default_section`: a section [DEFAULT] must not hand its roles to everybody.
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(text, source=str(file))
    except configparser.Error as error:
        raise Invalid(f"{file} cannot be used: {_first_line(error)}") from None
    people = {}
    for name in parser.sections():
        options = dict(parser.items(name))
        if unknown := options.keys() - _OPTIONS:
            raise Invalid(f"{file}: user '{name}' has an option that does not exist: {', '.join(sorted(unknown))}.")
        roles = options.get("roles", "").replace("\n", ",").split(",")
        people[name] = Person(
            project=options.get("project") or None,
            roles=frozenset(role.strip().lower() for role in roles) - {""},
        )
    return people


def _first_line(error: configparser.Error) -> str:
    # The lines after it quote the file.
    return str(error).partition("\n")[0]


class WatchedAccounts:
    """The accounts as the files have them now, looked at once a second at most. Raises Invalid for broken ones."""

    version: int = 0
    """How often the files were read again."""

    def __init__(self, htpasswd_file: Path, users_file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = (htpasswd_file, users_file)
        self._clock = clock
        self._looked_at = clock()
        self._stamp = self._stamp_now()
        self._accounts: Accounts | None = read_accounts(*self._files)
        self._cause = ""

    def current(self) -> Accounts:
        """Raises IdentityUnavailable for as long as a file cannot be used: then nobody is let in."""
        if self._clock() - self._looked_at >= LOOK_EVERY_SECONDS:
            self._looked_at = self._clock()
            self._look()
        if self._accounts is None:
            unavailable = IdentityUnavailable("The registry cannot read its list of users now; try again later.")
            unavailable.add_note(self._cause)  # For the log alone: it names files and users.
            raise unavailable
        return self._accounts

    def _look(self) -> None:
        try:
            stamp = self._stamp_now()
            if self._accounts is not None and stamp == self._stamp:
                return
            # The stamp is older than what is read: a change in between shows at the next look.
            self._stamp, self._accounts = stamp, read_accounts(*self._files)
        except Invalid as error:
            self._accounts, self._cause = None, str(error)
        else:
            self.version += 1
            log.info("users read again", extra={"fields": {"users": len(self._accounts.hashes)}})

    def _stamp_now(self) -> tuple[tuple[int, int, int], ...]:
        try:
            stats = [file.stat() for file in self._files]
        except OSError as error:
            raise Invalid(f"{error.filename} cannot be read: {error.strerror}.") from None
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)
