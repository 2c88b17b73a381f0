# SPDX-License-Identifier: Apache-2.0
"""Changes the two files of mode http_basic and preserves all other lines, comments too."""

import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from glance_registry.api.identity.accounts import Person, parse_htpasswd, parse_users, read_text
from glance_registry.cli.files import replacing
from glance_registry.model.errors import Conflict, Invalid, NotFound

_MAX_NAME_LENGTH = 255
_HEADER = ConfigParser.SECTCRE


class UserFiles(Struct, frozen=True):
    """The htpasswd file and the users file. A missing file counts as empty."""

    htpasswd: Path
    users: Path

    def hashes(self) -> dict[str, str]:
        """Names and hashes of any kind. Raises Invalid."""
        return parse_htpasswd(_text(self.htpasswd), self.htpasswd)

    def people(self) -> dict[str, Person]:
        """Users with their projects and roles. Raises Invalid."""
        return parse_users(_text(self.users), self.users)

    def check_new(self, name: str) -> None:
        """Raise Conflict if a file has the user: a new user must not get an old one's roles or password."""
        for file, known in ((self.htpasswd, self.hashes()), (self.users, self.people())):
            if name in known:
                raise Conflict(f"User '{name}' is in {file} already; remove it with `glance-registry user remove`.")

    def add(self, name: str, hashed: str, person: Person) -> None:
        """Add a user to both files. Raises Conflict, or Invalid if a file cannot be written."""
        with _locked(self.htpasswd):
            self.check_new(name)
            users = _with_line_end(_text(self.users)) + _section(name, person)
            self._check_users(users, {**self.people(), name: person})
            # The users file first, so that nobody can log in before the roles are set.
            _replace(self.users, users)
            _replace(self.htpasswd, f"{_with_line_end(_text(self.htpasswd))}{name}:{hashed}\n")

    def remove(self, name: str) -> None:
        """Remove a user from both files. Raises NotFound, or Invalid if a file cannot be written."""
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
        """Check, before anything is written, that the new text means what it should."""
        if parse_users(text, self.users) != wanted:
            raise Invalid(f"This command cannot change {self.users} in its present form; use an editor.")


def check_name(name: str) -> None:
    """Raise Invalid for a name that the files or an HTTP header cannot carry."""
    has_separator = any(character in name for character in ":[]")
    if not _is_plain(name) or len(name) > _MAX_NAME_LENGTH or name[0] in "#;" or has_separator:
        raise Invalid(f"A user's name must be 1 to {_MAX_NAME_LENGTH} visible characters without ':', '[' or ']'.")


def check_rights(person: Person) -> None:
    """Raise Invalid for a project or a role that the users file cannot carry."""
    if person.project is not None and not _is_plain(person.project):
        raise Invalid("A project's id must have visible characters only, and no spaces around them.")
    if not all(_is_plain(role) and "," not in role for role in person.roles):
        raise Invalid("A role must have visible characters only, and no comma; repeat --role for several roles.")


def _is_plain(text: str) -> bool:
    return bool(text) and text.isprintable() and text == text.strip()


def _text(file: Path) -> str:
    return read_text(file) if file.exists() else ""


def _with_line_end(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _section(name: str, person: Person) -> str:
    lines = [f"[{name}]"]
    if person.project:
        lines.append(f"project = {person.project}")
    if person.roles:
        lines.append(f"roles = {', '.join(sorted(person.roles))}")
    return "\n".join(lines) + "\n"


def _without_section(text: str, name: str) -> str:
    """The text without a user's section, but with its comments: the last may be about the next user."""
    lines, in_section = [], False
    for line in text.split("\n"):
        header = _HEADER.match(line)
        if header:
            in_section = header["header"] == name
        if not in_section or line.lstrip().startswith(("#", ";")):
            lines.append(line)
    return _with_line_end("\n".join(lines))


def _without_line(text: str, name: str) -> str:
    return "\n".join(line for line in text.split("\n") if line.startswith("#") or line.partition(":")[0] != name)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Allow one change at a time; a second one would be based on a text that the first replaces."""
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
    """Replace the file by the text in one step."""
    target = file.resolve()
    try:
        with replacing(target) as stream:
            stream.write(text.encode())
            _set_rights(stream.fileno(), target)
    except OSError as error:
        raise Invalid(f"{file} cannot be written: {error.strerror}.") from None


def _set_rights(handle: int, target: Path) -> None:
    """Make a new file readable by its owner only; give a replaced file the owner and group rights of the old one.

    The server may run as another user than the one who runs the command, and must be able to read the file.
    """
    if not target.exists():
        os.fchmod(handle, 0o600)
        return
    old = target.stat()
    new = os.fstat(handle)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, stat.S_IMODE(old.st_mode) & 0o640 | 0o600)
