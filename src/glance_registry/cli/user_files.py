# SPDX-License-Identifier: Apache-2.0
"""Changing the two files of mode http_basic: a line that does not have to go stays as it is, comments too."""

import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from glance_registry.api.identity.accounts import Person, parse_htpasswd, parse_users, read_text
from glance_registry.cli.files import replaced
from glance_registry.model.errors import Conflict, Invalid, NotFound

_LONGEST_NAME = 255
_HEADER = ConfigParser.SECTCRE


class UserFiles(Struct, frozen=True):
    """The htpasswd file and the users file. A missing one is an empty one, until something is written to it."""

    htpasswd: Path
    users: Path

    def hashes(self) -> dict[str, str]:
        """Names and hashes, of whatever kind. Raises Invalid."""
        return parse_htpasswd(_text(self.htpasswd), self.htpasswd)

    def people(self) -> dict[str, Person]:
        """Raises Invalid."""
        return parse_users(_text(self.users), self.users)

    def check_new(self, name: str) -> None:
        """Raise Conflict when one of the files has the user: what stands there must not be handed to another one."""
        for file, known in ((self.htpasswd, self.hashes()), (self.users, self.people())):
            if name in known:
                raise Conflict(f"User '{name}' is in {file} already; `glance-registry user remove` takes it out.")

    def add(self, name: str, hashed: str, person: Person) -> None:
        """Raises Conflict, or Invalid when a file cannot be written."""
        with _locked(self.htpasswd):
            self.check_new(name)
            users = _line_ended(_text(self.users)) + _section(name, person)
            self._check_users(users, {**self.people(), name: person})
            # The users file first: who cannot log in yet needs no rights, who can needs the right ones.
            _replace(self.users, users)
            _replace(self.htpasswd, f"{_line_ended(_text(self.htpasswd))}{name}:{hashed}\n")

    def remove(self, name: str) -> None:
        """Raises NotFound, or Invalid when a file cannot be written."""
        with _locked(self.htpasswd):
            hashes, people = self.hashes(), self.people()
            if name not in hashes and name not in people:
                raise NotFound(f"There is no user '{name}'.")
            users = _without_section(_text(self.users), name)
            self._check_users(users, {other: person for other, person in people.items() if other != name})
            if name in hashes:
                _replace(self.htpasswd, _without_line(_text(self.htpasswd), name))
            if name in people:
                _replace(self.users, users)

    def _check_users(self, text: str, wanted: Mapping[str, Person]) -> None:
        """Before anything is written: the new text says of everybody what it should."""
        if parse_users(text, self.users) != wanted:
            raise Invalid(f"{self.users} is written in a way that this command cannot change; use an editor.")


def check_name(name: str) -> None:
    """Raise Invalid for a name that cannot stand in the files or in an HTTP header."""
    if not _is_plain(name) or len(name) > _LONGEST_NAME or name[0] in "#;" or any(mark in name for mark in ":[]"):
        raise Invalid(f"A user's name is 1 to {_LONGEST_NAME} visible characters without ':', '[' or ']'.")


def check_rights(person: Person) -> None:
    """Raise Invalid for a project or a role that cannot stand in the users file."""
    if person.project is not None and not _is_plain(person.project):
        raise Invalid("A project's id is visible characters without spaces around them.")
    if not all(_is_plain(role) and "," not in role for role in person.roles):
        raise Invalid("A role is visible characters without a comma; give --role once for each.")


def _is_plain(text: str) -> bool:
    return bool(text) and text.isprintable() and text == text.strip()


def _text(file: Path) -> str:
    return read_text(file) if file.exists() else ""


def _line_ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _section(name: str, person: Person) -> str:
    lines = [f"[{name}]"]
    if person.project:
        lines.append(f"project = {person.project}")
    if person.roles:
        lines.append(f"roles = {', '.join(sorted(person.roles))}")
    return "\n".join(lines) + "\n"


def _without_section(text: str, name: str) -> str:
    """A comment stays wherever it stands: the last one before a header is about the next user."""
    kept, inside = [], False
    for line in text.split("\n"):
        header = _HEADER.match(line)
        if header:
            inside = header["header"] == name
        if not inside or line.lstrip().startswith(("#", ";")):
            kept.append(line)
    return _line_ended("\n".join(kept))


def _without_line(text: str, name: str) -> str:
    return "\n".join(line for line in text.split("\n") if line.startswith("#") or line.partition(":")[0] != name)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """One change at a time: of two at once, the second would be made to what the first has replaced."""
    try:
        folder = os.open(file.resolve().parent, os.O_RDONLY)
    except OSError as error:
        raise Invalid(f"{file} cannot be written: {error.strerror}.") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _replace(file: Path, text: str) -> None:
    """Put the text in the file's place in one step."""
    target = file.resolve()
    try:
        with replaced(target) as stream:
            stream.write(text.encode())
            _set_rights(stream.fileno(), target)
    except OSError as error:
        raise Invalid(f"{file} cannot be written: {error.strerror}.") from None


def _set_rights(handle: int, target: Path) -> None:
    """A new file is its maker's alone. An old one keeps its owner and what its group may read: the server, which may
    run as another user than who types this, must find it readable.
    """
    if not target.exists():
        os.fchmod(handle, 0o600)
        return
    found = target.stat()
    mine = os.fstat(handle)
    if (found.st_uid, found.st_gid) != (mine.st_uid, mine.st_gid):
        os.fchown(handle, found.st_uid, found.st_gid)
    os.fchmod(handle, stat.S_IMODE(found.st_mode) & 0o640 | 0o600)
