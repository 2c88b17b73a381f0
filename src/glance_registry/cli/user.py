# SPDX-License-Identifier: Apache-2.0
"""`glance-registry user`: add, remove and list the users of identity mode http_basic."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from glance_registry.api.identity.accounts import NO_RIGHTS, Person
from glance_registry.api.identity.passwords import kind_of, new_hash
from glance_registry.cli.options import load_settings, setting_options
from glance_registry.cli.output import print_table
from glance_registry.cli.user_files import UserFiles, check_name, check_rights
from glance_registry.model.errors import Invalid

_MAX_PASSWORD_BYTES = 1024
_COLUMNS = ("user", "project", "roles", "password")


def _file_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the two files, from its flags or from the settings."""

    @click.option("--htpasswd-file", metavar="FILE", help="Instead of the setting [identity] htpasswd_file.")
    @click.option("--users-file", metavar="FILE", help="Instead of the setting [identity] users_file.")
    @setting_options
    @wraps(command)
    def run(htpasswd_file: str | None, users_file: str | None, **given: Any) -> None:
        settings = load_settings().settings
        htpasswd, users = htpasswd_file or settings.identity.htpasswd_file, users_file or settings.identity.users_file
        if not (htpasswd and users):
            raise Invalid("Give --htpasswd-file and --users-file, or set [identity] htpasswd_file and users_file.")
        command(UserFiles(Path(htpasswd), Path(users)), **given)

    return run


@click.group()
@setting_options
def user() -> None:
    """Add, remove and list the users of the identity mode http_basic."""


@user.command()
@click.argument("name")
@click.option("--project", metavar="ID", help="The project that the user acts for.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="Such as admin, member or reader; repeatable.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input, without a prompt.")
@_file_options
def add(files: UserFiles, name: str, project: str | None, roles: tuple[str, ...], password_stdin: bool) -> None:
    """Add the user NAME with a password. A running server reads it within two seconds."""
    person = Person(project=project, roles=frozenset(role.lower() for role in roles))
    check_name(name)
    check_rights(person)
    files.check_new(name)
    files.add(name, new_hash(_password(password_stdin)), person)
    click.echo(f"Added user '{name}'.")


@user.command()
@click.argument("name")
@_file_options
def remove(files: UserFiles, name: str) -> None:
    """Remove the user NAME from both files."""
    files.remove(name)
    click.echo(f"Removed user '{name}'.")


@user.command("list")
@_file_options
def list_command(files: UserFiles) -> None:
    """Show each user's project, roles and kind of password hash."""
    hashes, people = files.hashes(), files.people()
    rows = []
    for name in sorted(hashes.keys() | people.keys()):
        person = people.get(name, NO_RIGHTS)
        kind = (kind_of(hashes[name]) or "not accepted") if name in hashes else "none"
        rows.append((name, person.project or "-", ", ".join(sorted(person.roles)) or "-", kind))
    print_table(_COLUMNS, rows)


def _password(from_stdin: bool) -> str:
    """Read a password. Raises Invalid for one that no client could send."""
    try:
        if from_stdin:
            text: str = sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
        else:
            text = click.prompt("Password", type=str, hide_input=True, confirmation_prompt="Once more")
        size = len(text.encode())
    except UnicodeError:
        raise Invalid("The password is not in UTF-8.") from None
    if any(character < " " or character == "\x7f" for character in text):
        raise Invalid("A password must not have line breaks or control characters.")
    if not 1 <= size <= _MAX_PASSWORD_BYTES:
        raise Invalid(f"A password must be 1 to {_MAX_PASSWORD_BYTES} bytes long.")
    return text
