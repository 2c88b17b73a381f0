# SPDX-License-Identifier: Apache-2.0
"""Reads the two files of mode http_basic: password hashes, and users with project and roles."""

import configparser
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from glance_registry.api.identity.passwords import DUMMY_HASH, dummy_hash_like, kind_of
from glance_registry.model.errors import IdentityUnavailable, Invalid

log = logging.getLogger(__name__)

CHECK_INTERVAL_SECONDS = 1
_OPTIONS = {"project", "roles"}


class Person(Struct, frozen=True, kw_only=True):
    """A user's section in the users file."""

    project: str | None = None
    roles: frozenset[str] = frozenset()


NO_RIGHTS = Person()
"""A user with a password but no section is authenticated and has no project and no roles."""


class Accounts(Struct, frozen=True, kw_only=True):
    """The contents of both files. All hashes have accepted kinds."""

    hashes: Mapping[str, str]
    people: Mapping[str, Person]
    dummy_hashes: tuple[str, ...]

    def hash_for(self, name: str) -> str:
        """The user's hash; for an unknown name a dummy that no password matches.

        Checking the dummy takes as long as some user's hash, so that the time of an answer does not reveal names.
        """
        return self.hashes.get(name) or self.dummy_hashes[hash(name) % len(self.dummy_hashes)]


def read_accounts(htpasswd_file: Path, users_file: Path) -> Accounts:
    """Read both files. Raises Invalid with the names of the file and the user, but never a hash."""
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
        dummy_hashes=tuple(dummy_hash_like(hashed) for hashed in hashes.values()) or (DUMMY_HASH,),
    )


def read_text(file: Path) -> str:
    """The text of a file. Raises Invalid if it cannot be read or is not UTF-8."""
    try:
        # Not Path.read_text, which would change line ends, and the command `user` writes the text back.
        return file.read_bytes().decode()
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Invalid(f"{file} is not in UTF-8.") from None


def parse_htpasswd(text: str, file: Path) -> dict[str, str]:
    """Names and hashes of any kind.

    Raises Invalid for a line that is neither `name:hash` nor a comment.
    """
    hashes: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, hashed = line.rstrip().partition(":")
        if not (name and colon and hashed):
            raise Invalid(f"{file}: line {number} does not have the form name:hash.")
        if name in hashes:
            raise Invalid(f"{file}: user '{name}' occurs twice.")
        hashes[name] = hashed
    return hashes


def parse_users(text: str, file: Path) -> dict[str, Person]:
    """Users and their sections.

    Raises Invalid for text that is not INI, and for repeated or unknown options.
    """
    # Without `default_section`, a section [DEFAULT] would give its roles to all users.
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(text, source=str(file))
    except configparser.Error as error:
        raise Invalid(f"{file} cannot be used: {_first_line(error)}") from None
    people = {}
    for name in parser.sections():
        options = dict(parser.items(name))
        if unknown := options.keys() - _OPTIONS:
            raise Invalid(f"{file}: user '{name}' has an unknown option: {', '.join(sorted(unknown))}.")
        roles = options.get("roles", "").replace("\n", ",").split(",")
        people[name] = Person(
            project=options.get("project") or None,
            roles=frozenset(role.strip().lower() for role in roles) - {""},
        )
    return people


def _first_line(error: configparser.Error) -> str:
    # Further lines quote the file, which may have secrets.
    return str(error).partition("\n")[0]


class WatchedAccounts:
    """The accounts in the files, read again when a file changes.

    Raises Invalid for broken files.
    """

    version: int = 0
    """Number of times that the files were read again."""

    def __init__(self, htpasswd_file: Path, users_file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = (htpasswd_file, users_file)
        self._clock = clock
        self._checked_at = clock()
        self._stamp = self._stamp_now()
        self._accounts: Accounts | None = read_accounts(*self._files)
        self._cause = ""

    def current(self) -> Accounts:
        """The accounts now. Raises IdentityUnavailable while a file cannot be used."""
        if self._clock() - self._checked_at >= CHECK_INTERVAL_SECONDS:
            self._checked_at = self._clock()
            self._check_files()
        if self._accounts is None:
            unavailable = IdentityUnavailable("The registry cannot read its list of users now; try again later.")
            unavailable.add_note(self._cause)  # For the log alone: it names files and users.
            raise unavailable
        return self._accounts

    def _check_files(self) -> None:
        try:
            stamp = self._stamp_now()
            if self._accounts is not None and stamp == self._stamp:
                return
            # The stamp is taken first, so a change during the reading is noticed at the next check.
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
