# SPDX-License-Identifier: Apache-2.0
"""`user add | remove | list`: what they write, what they leave as it was, what they refuse."""

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from click.testing import Result
from tests.cli.conftest import PROGRAM, Invoke
from tests.processes import free_port

from glance_registry.api.identity.accounts import Person, read_accounts
from glance_registry.api.identity.passwords import kind_of, verify

pytestmark = pytest.mark.slow  # Passwords are hashed at full cost.

PASSWORD = "se:cr:ét"
BCRYPT = bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode()
HTPASSWD = f"# The people of operations.\r\nzoë:{BCRYPT}\r\n\nbob:{BCRYPT}"
USERS = """\
; Kept by hand.
[zoë]
# She is on leave.
project = acme
roles = Member,
    reader

# Bob does the backups.
[bob]
PROJECT: other
"""

User = Callable[..., Result]


@pytest.fixture
def htpasswd(tmp_path: Path) -> Path:
    return tmp_path / "htpasswd"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    return tmp_path / "users.ini"


@pytest.fixture
def user(invoke: Invoke, htpasswd: Path, users: Path) -> User:
    """Run a user command on the two files."""

    def run(command: str, *arguments: object, **options: Any) -> Result:
        return invoke("user", command, *arguments, "--htpasswd-file", htpasswd, "--users-file", users, **options)

    return run


def add(user: User, *arguments: object, password: str = PASSWORD) -> Result:
    return user("add", *arguments, "--password-stdin", input=password)


def write_by_hand(htpasswd: Path, users: Path) -> None:
    htpasswd.write_bytes(HTPASSWD.encode())
    users.write_text(USERS)


def test_add_makes_the_files_for_their_owner_alone(user: User, htpasswd: Path, users: Path) -> None:
    result = add(user, "alice", "--project", "acme", "--role", "Member", "--role", "reader")

    assert (result.exit_code, result.stdout) == (0, "Added user 'alice'.\n")
    accounts = read_accounts(htpasswd, users)
    assert kind_of(accounts.hashes["alice"]) == "argon2id"
    assert verify(accounts.hashes["alice"], PASSWORD.encode())
    assert accounts.people == {"alice": Person(project="acme", roles=frozenset({"member", "reader"}))}
    for file in (htpasswd, users):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(htpasswd.parent.iterdir()) == [htpasswd, users]


def test_add_keeps_every_line_that_was_there(user: User, htpasswd: Path, users: Path) -> None:
    write_by_hand(htpasswd, users)
    assert add(user, "alice").exit_code == 0

    before, _, line = htpasswd.read_bytes().decode().rstrip("\n").rpartition("\n")
    assert before == HTPASSWD
    assert line.startswith("alice:$argon2id$")
    assert users.read_text() == USERS + "[alice]\n"


def test_remove_takes_the_user_out_and_leaves_the_rest(user: User, htpasswd: Path, users: Path) -> None:
    write_by_hand(htpasswd, users)
    result = user("remove", "zoë")

    assert (result.exit_code, result.stdout) == (0, "Removed user 'zoë'.\n")
    assert htpasswd.read_bytes().decode() == f"# The people of operations.\r\n\nbob:{BCRYPT}"
    assert users.read_text() == (
        "; Kept by hand.\n# She is on leave.\n# Bob does the backups.\n[bob]\nPROJECT: other\n"
    )


def test_what_is_added_and_removed_leaves_no_trace(user: User, htpasswd: Path, users: Path) -> None:
    write_by_hand(htpasswd, users)
    add(user, "alice", "--project", "p", "--role", "r")
    user("remove", "alice")

    assert htpasswd.read_bytes().decode() == HTPASSWD + "\n"
    assert users.read_text() == USERS


def test_the_password_is_asked_for_twice_and_not_shown(user: User, htpasswd: Path, users: Path) -> None:
    result = user("add", "alice", input="first\nother\nsecond\nsecond\n")
    assert result.exit_code == 0
    assert "second" not in result.output
    assert verify(read_accounts(htpasswd, users).hashes["alice"], b"second")


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_the_end_of_the_line_is_not_part_of_the_password(user: User, htpasswd: Path, users: Path, ending: str) -> None:
    add(user, "alice", password=f" p w {ending}")
    assert verify(read_accounts(htpasswd, users).hashes["alice"], b" p w ")


@pytest.mark.parametrize("password", ["", "\n", "two\nlines\n", "nul\0", "x" * 1025, b"\xff"])
def test_a_password_that_could_not_be_sent_is_refused(user: User, htpasswd: Path, password: str | bytes) -> None:
    result = user("add", "alice", "--password-stdin", input=password)
    assert result.exit_code == 1
    assert "password" in result.stderr
    assert not htpasswd.exists()


@pytest.mark.parametrize("password", ["x" * 73, "é" * 200])
def test_a_password_may_be_longer_than_bcrypt_reads(user: User, htpasswd: Path, users: Path, password: str) -> None:
    add(user, "alice", password=password)
    hashed = read_accounts(htpasswd, users).hashes["alice"]
    assert verify(hashed, password.encode())
    assert not verify(hashed, password[:-1].encode())


@pytest.mark.parametrize(
    "name", ["", " ", "a:b", "a\nb:c", " alice", "alice ", "#alice", ";alice", "[alice", "a]b", "x" * 256, "\x1b[2J"]
)
def test_a_name_that_cannot_stand_in_the_files_is_refused(user: User, htpasswd: Path, name: str) -> None:
    result = add(user, name)
    assert result.exit_code == 1
    assert "name" in result.stderr
    assert not htpasswd.exists()


@pytest.mark.parametrize(
    "rights",
    [
        *(("--project", "x\nroles = admin"), ("--project", ""), ("--project", " x"), ("--role", "a\n[root]")),
        *(("--role", "member,admin"), ("--role", ""), ("--role", "a\tb")),
    ],
    ids=repr,
)
def test_rights_that_would_say_more_than_they_seem_are_refused(
    user: User, users: Path, rights: tuple[str, str]
) -> None:
    assert add(user, "alice", *rights).exit_code == 1
    assert not users.exists()


@pytest.mark.parametrize("name", ["DEFAULT", "zoë smith", "a=b", "a@b.c", "%(x)s", "x" * 255, "0"])
def test_an_odd_name_is_as_good_as_any(user: User, htpasswd: Path, users: Path, name: str) -> None:
    write_by_hand(htpasswd, users)
    assert add(user, name, "--project", "$x %(y)s = #z", "--role", "q").exit_code == 0
    assert read_accounts(htpasswd, users).people[name] == Person(project="$x %(y)s = #z", roles=frozenset("q"))
    assert user("remove", name).exit_code == 0
    assert users.read_text() == USERS


def test_a_user_who_is_in_either_file_is_not_added_again(user: User, htpasswd: Path, users: Path) -> None:
    write_by_hand(htpasswd, users)
    users.write_text(USERS + "[left]\nroles = admin\n")
    before = htpasswd.read_bytes(), users.read_bytes()

    for name, file in (("bob", htpasswd), ("left", users)):
        result = add(user, name)
        assert result.exit_code == 1
        assert f"User '{name}' is in {file} already" in result.stderr
    assert (htpasswd.read_bytes(), users.read_bytes()) == before


def test_remove_says_when_there_is_no_such_user(user: User, htpasswd: Path, users: Path) -> None:
    write_by_hand(htpasswd, users)
    result = user("remove", "alice")
    assert (result.exit_code, result.stderr) == (1, "Error: There is no user 'alice'.\n")


def test_a_user_with_a_refused_password_can_be_listed_and_removed(user: User, htpasswd: Path, users: Path) -> None:
    write_by_hand(htpasswd, users)
    htpasswd.write_text("mallory:letmein\nalice:" + BCRYPT)

    listed = user("list").stdout
    assert "letmein" not in listed
    assert "$2b$" not in listed
    assert [line.split() for line in listed.splitlines()] == [
        ["user", "project", "roles", "password"],
        ["alice", "-", "-", "bcrypt"],
        ["bob", "other", "-", "none"],
        ["mallory", "-", "-", "not", "accepted"],
        ["zoë", "acme", "member,", "reader", "none"],
    ]
    assert user("remove", "mallory").exit_code == 0
    assert htpasswd.read_text() == "alice:" + BCRYPT


def test_a_layout_that_cannot_be_changed_safely_is_left_alone(user: User, htpasswd: Path, users: Path) -> None:
    htpasswd.write_text(f"zoë:{BCRYPT}\n")
    users.write_text("  [zoë]\n  project = acme\n[bob]\n")

    result = user("remove", "zoë")
    assert result.exit_code == 1
    assert "use an editor" in result.stderr
    assert htpasswd.read_text() == f"zoë:{BCRYPT}\n"


def test_the_group_may_still_read_what_it_could_and_others_nothing(user: User, htpasswd: Path, users: Path) -> None:
    write_by_hand(htpasswd, users)
    htpasswd.chmod(0o640)
    users.chmod(0o666)
    add(user, "alice")
    assert stat.S_IMODE(htpasswd.stat().st_mode) == 0o640
    assert stat.S_IMODE(users.stat().st_mode) == 0o640


def test_files_keep_their_owner_when_another_changes_them(user: User, htpasswd: Path, users: Path) -> None:
    """Only root can give a file to another user; anybody to another of their own groups."""
    write_by_hand(htpasswd, users)
    owner = (1234, 2345) if os.getuid() == 0 else (os.getuid(), os.getgroups()[-1])
    os.chown(htpasswd, *owner)
    add(user, "alice")
    assert (htpasswd.stat().st_uid, htpasswd.stat().st_gid) == owner


def test_a_link_stays_a_link(user: User, htpasswd: Path, users: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    htpasswd.symlink_to(tmp_path / "real" / "people")
    add(user, "alice")
    assert htpasswd.is_symlink()
    assert (tmp_path / "real" / "people").read_text().startswith("alice:")


def test_a_folder_that_is_not_there_is_an_error_in_one_sentence(invoke: Invoke, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "file"
    result = invoke(
        *("user", "add", "alice", "--password-stdin"),
        *("--htpasswd-file", nowhere, "--users-file", nowhere),
        input=PASSWORD,
    )
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {nowhere} cannot be written: No such file or directory.\n",
    )


def test_the_files_are_those_of_the_settings_unless_given(invoke: Invoke, htpasswd: Path, users: Path) -> None:
    config = htpasswd.parent / "registry.conf"
    config.write_text(f"[identity]\nhtpasswd_file = {htpasswd}\nusers_file = {users}\n")
    invoke("user", "add", "alice", "--password-stdin", "--config-file", config, input=PASSWORD)
    assert "alice" in read_accounts(htpasswd, users).hashes

    result = invoke("user", "list")
    assert result.exit_code == 1
    assert "--htpasswd-file" in result.stderr


@pytest.mark.external
def test_two_at_once_both_leave_their_user(htpasswd: Path, users: Path) -> None:
    files = ("--htpasswd-file", str(htpasswd), "--users-file", str(users))
    names = [f"user{number}" for number in range(3)]
    running = []
    for name in names:
        command = [*PROGRAM, "user", "add", name, "--password-stdin", *files]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert process.stdin
        process.stdin.write(PASSWORD.encode())
        process.stdin.close()
        running.append(process)
    assert [process.wait() for process in running] == [0] * len(names)
    assert sorted(read_accounts(htpasswd, users).hashes) == names


@pytest.mark.external
def test_serve_does_not_start_with_a_password_that_is_not_hashed(
    invoke: Invoke, htpasswd: Path, users: Path, new_database: str, tmp_path: Path
) -> None:
    write_by_hand(htpasswd, users)
    htpasswd.write_text("mallory:letmein\n")
    config = tmp_path / "registry.conf"
    config.write_text(f"[identity]\nmode = http_basic\nhtpasswd_file = {htpasswd}\nusers_file = {users}\n")

    result = invoke("serve", "--config-file", config, "--database", new_database, "--port", free_port())
    assert result.exit_code == 1
    assert "user 'mallory'" in result.stderr
    assert "letmein" not in result.output
