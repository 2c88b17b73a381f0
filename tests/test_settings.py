# SPDX-License-Identifier: Apache-2.0
"""Settings: where they come from, which of two counts, what an old file may hold, and that secrets stay secret."""

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from glance_registry.catalogue.database_url import parse_url
from glance_registry.cli import main
from glance_registry.model.errors import Invalid
from glance_registry.settings import SETTINGS, Settings, load, masked
from tests.conftest import Client
from tests.options import make_settings

DATABASE = next(setting for setting in SETTINGS if setting.attribute == "database.connection")
WriteFile = Callable[..., str]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("OS_"):
            monkeypatch.delenv(name)


@pytest.fixture
def write_file(tmp_path: Path) -> WriteFile:
    def write(text: str | bytes, name: str = "registry.conf") -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def test_without_any_source_the_defaults_hold() -> None:
    loaded = load()

    assert loaded.settings == Settings()
    assert set(loaded.sources.values()) == {"default"}
    assert loaded.unknown == []


def test_every_setting_is_a_row_with_help_and_a_default() -> None:
    assert len({(setting.group, setting.name) for setting in SETTINGS}) == len(SETTINGS)
    assert all(setting.option.help.endswith(".") for setting in SETTINGS)
    assert all(setting.value(Settings()) == setting.default for setting in SETTINGS)


def test_every_attribute_is_a_setting_but_the_names_of_the_files() -> None:
    values = asdict(Settings())
    groups = {name: value for name, value in values.items() if isinstance(value, dict)}
    inside = {f"{group}.{name}" for group, options in groups.items() for name in options}

    assert {setting.attribute for setting in SETTINGS} == (values.keys() - groups.keys() - {"config_files"}) | inside


def test_a_file_beats_the_default_the_environment_the_file_and_a_flag_them_all(
    write_file: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_file("[DEFAULT]\nbind_port = 1\nworkers = 2\napi_limit_max = 3\n")
    monkeypatch.setenv("OS_DEFAULT__WORKERS", "20")
    monkeypatch.setenv("OS_DEFAULT__API_LIMIT_MAX", "30")

    loaded = load([file], {"api_limit_max": 300})

    assert (loaded.settings.bind_port, loaded.settings.workers, loaded.settings.api_limit_max) == (1, 20, 300)
    assert loaded.sources["bind_port"].startswith("file ")
    assert file in loaded.sources["bind_port"]
    assert loaded.sources["workers"].startswith("environment ")
    assert loaded.sources["api_limit_max"] == "flag"
    assert loaded.sources["bind_host"] == "default"


def test_of_two_files_the_last_counts(write_file: WriteFile) -> None:
    first = write_file("[DEFAULT]\nbind_port = 1\nworkers = 2\n", "first.conf")
    second = write_file("[DEFAULT]\nbind_port = 10\n", "second.conf")

    settings = load([first, second]).settings

    assert (settings.bind_port, settings.workers) == (10, 2)


# Another value than the default for each.
GIVEN = {
    "bind_host": ("::1", "::1"),
    "bind_port": ("1", 1),
    "workers": ("2", 2),
    "limit_param_default": ("3", 3),
    "api_limit_max": ("4", 4),
    "max_request_body_size": ("5000", 5000),
    "log_format": ("json", "json"),
    "database.connection": ("sqlite:////x", "sqlite:////x"),
    "registry.contract": ("queens", "queens"),
    "registry.writer_role": ("a, b", ("a", "b")),
    "identity.mode": ("context", "context"),
    "identity.insecure_no_auth": ("yes", True),
    "identity.trusted_addresses": ("10.0.0.1,::/0", ("10.0.0.1", "::/0")),
}


@pytest.mark.parametrize("attribute", GIVEN)
@pytest.mark.parametrize("source", ["file", "environment"])
def test_a_setting_can_come_from_a_file_or_the_environment(
    write_file: WriteFile, monkeypatch: pytest.MonkeyPatch, attribute: str, source: str
) -> None:
    setting = next(setting for setting in SETTINGS if setting.attribute == attribute)
    text, value = GIVEN[attribute]
    files = []
    if source == "file":
        files.append(write_file(f"[{setting.group}]\n{setting.name} = {text}\n"))
    else:
        monkeypatch.setenv(f"OS_{setting.group.upper()}__{setting.name.upper()}", text)

    loaded = load(files)

    assert setting.value(loaded.settings) == value
    assert loaded.sources[attribute].startswith(source)


OLD_FILE = """
# The registry's file of many a cloud between 2011 and 2019.
[DEFAULT]
verbose = True
debug = False
bind_host = 127.0.0.2
bind_port = 9292
backlog = 4096
workers = 4
log_file = /var/log/glance/registry.log
use_syslog = False
sql_connection = sqlite:////var/lib/glance/glance.sqlite
sql_idle_timeout = 3600
api_limit_max = 500
limit_param_default = 50

[paste_deploy]
flavor = keystone
config_file = /etc/glance/glance-registry-paste.ini

[keystone_authtoken]
auth_host = 127.0.0.1
admin_password = %SERVICE_PASSWORD%

[oslo_messaging_rabbit]
rabbit_userid = guest
"""


def test_an_old_file_of_the_registry_is_understood(write_file: WriteFile) -> None:
    settings = load([write_file(OLD_FILE)]).settings

    assert (settings.bind_host, settings.bind_port, settings.workers) == ("127.0.0.2", 9292, 4)
    assert settings.database.connection == "sqlite:////var/lib/glance/glance.sqlite"
    assert (settings.limit_param_default, settings.api_limit_max) == (50, 500)


def test_what_an_old_file_holds_beyond_that_is_named_and_its_values_are_not(write_file: WriteFile) -> None:
    unknown = load([write_file(OLD_FILE)]).unknown

    assert {"[DEFAULT] verbose", "[DEFAULT] backlog", "[DEFAULT] sql_idle_timeout"} <= set(unknown)
    assert {"[paste_deploy] flavor", "[paste_deploy] config_file"} <= set(unknown)
    assert {"[keystone_authtoken] auth_host", "[oslo_messaging_rabbit] rabbit_userid"} <= set(unknown)
    assert not any("bind_host" in name or "sql_connection" in name or "SERVICE" in name for name in unknown)


def test_the_new_name_of_an_option_beats_its_old_one(write_file: WriteFile) -> None:
    both = "[DEFAULT]\nsql_connection = sqlite:////old\n[database]\nconnection = sqlite:////new\n"

    assert load([write_file(both)]).settings.database.connection == "sqlite:////new"


def test_the_options_that_are_ignored_are_told_on_one_line(write_file: WriteFile) -> None:
    result = CliRunner().invoke(main, ["config", "--config-file", write_file(OLD_FILE)])

    assert result.exit_code == 0
    (warning,) = result.stderr.splitlines()
    assert warning.startswith("warning: ")
    assert "[paste_deploy] flavor" in warning
    assert "%SERVICE_PASSWORD%" not in result.output


BAD = [
    ("DEFAULT", "bind_port", "http"),
    ("DEFAULT", "bind_port", "0"),
    ("DEFAULT", "bind_port", "70000"),
    ("DEFAULT", "bind_port", ""),
    ("DEFAULT", "workers", "0"),
    ("DEFAULT", "workers", "-1"),
    ("DEFAULT", "workers", "1.5"),
    ("DEFAULT", "limit_param_default", "0"),
    ("DEFAULT", "api_limit_max", "100000000"),
    ("DEFAULT", "max_request_body_size", "1"),
    ("DEFAULT", "log_format", "xml"),
    ("registry", "contract", "grizzly"),
    ("identity", "mode", "magic"),
    ("identity", "insecure_no_auth", "perhaps"),
]


def assert_sentence(error: Invalid, *words: str) -> None:
    assert re.match(r"[A-Z].*", str(error))
    assert len(str(error)) < 500
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize(("group", "name", "value"), BAD)
@pytest.mark.parametrize("source", ["file", "environment"])
def test_a_bad_value_is_invalid_and_its_option_is_named(
    write_file: WriteFile, monkeypatch: pytest.MonkeyPatch, source: str, group: str, name: str, value: str
) -> None:
    files = []
    if source == "file":
        files.append(write_file(f"[{group}]\n{name} = {value}\n"))
    else:
        monkeypatch.setenv(f"OS_{group.upper()}__{name.upper()}", value)

    with pytest.raises(Invalid) as raised:
        load(files)
    assert_sentence(raised.value, name)


@pytest.mark.parametrize("flags", [{"bind_port": 70000}, {"bind_port": 0}, {"workers": 0}])
def test_a_bad_flag_is_invalid(flags: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as raised:
        load(flags=flags)
    assert_sentence(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        b"bind_port = 1\n",
        b"[DEFAULT\nbind_port = 1\n",
        b"[DEFAULT]\nno value\n",
        b"\xff\xfe[\0D\0",
        b"[DEFAULT]\nx=\xe9",
    ],
)
def test_a_file_that_is_no_settings_file_is_invalid(write_file: WriteFile, text: bytes) -> None:
    with pytest.raises(Invalid) as raised:
        load([write_file(text)])
    assert_sentence(raised.value)


def test_a_file_that_is_not_there_is_invalid_and_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as raised:
        load([str(tmp_path / "none.conf")])
    assert_sentence(raised.value, "none.conf")


def test_a_folder_instead_of_a_file_is_invalid(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as raised:
        load([str(tmp_path)])
    assert_sentence(raised.value)


PASSWORDS = [
    "s3cret",
    "s3c:ret",
    "s3c/ret",
    "s3c@ret",
    "s3c%40ret",
    ":s3cret@/",
    "s3cret?",
    "s3cret#&",
    "s3c ret",
    "s3crét",
]


@pytest.mark.parametrize("password", PASSWORDS)
def test_of_a_database_url_the_password_alone_is_hidden(password: str) -> None:
    shown = masked(DATABASE, f"postgresql://glance:{password}@db.example:5432/glance?application_name=a")

    assert shown == "postgresql://glance:***@db.example:5432/glance?application_name=a"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://glance@db/glance", "postgresql://glance@db/glance"),
        ("postgresql://db/glance?user=u&password=s3cret", "postgresql://db/glance?user=u&password=***"),
        ("postgresql://db/glance?PASSWORD=s3c@ret&host=h", "postgresql://db/glance?PASSWORD=***&host=h"),
        ("sqlite:////var/lib/glance/registry.sqlite", "sqlite:////var/lib/glance/registry.sqlite"),
    ],
)
def test_a_password_is_hidden_wherever_it_stands_and_nothing_else_is(url: str, shown: str) -> None:
    assert masked(DATABASE, url) == shown


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_the_command_config_never_shows_a_password(write_file: WriteFile, password: str, form: list[str]) -> None:
    file = write_file(f"[database]\nconnection = postgresql://glance:{password}@db/glance\n")

    result = CliRunner().invoke(main, ["config", *form, "--config-file", file])

    assert result.exit_code == 0
    assert "glance:***@db/glance" in result.output
    assert password not in result.output


@pytest.mark.parametrize(
    "url",
    [
        *("", "nonsense", "://", "postgresql", "mysql://u:s3cret@h/d", "sqlite://", "sqlite:///:memory:", "sqlite:///"),
        *("postgresql://u:s3cret@h:port/d", "postgres://u:s3cret@h/d", "oracle://u:s3cret@h"),
        "postgresql+nonsense://u:s3cret@[::1/d",
    ],
)
def test_a_database_url_that_cannot_be_used_is_invalid_and_is_not_repeated(url: str) -> None:
    with pytest.raises(Invalid) as raised:
        parse_url(url)
    assert_sentence(raised.value)
    assert "s3cret" not in str(raised.value)


def test_a_page_is_never_larger_than_the_largest_not_even_the_default_one(sqlite_database: str) -> None:
    client = Client(make_settings(sqlite_database, limit_param_default=5, api_limit_max=2))
    for _ in range(4):
        client.add()

    assert len(client.get("/images").json()["images"]) == 2
    assert len(client.get("/images?limit=3").json()["images"]) == 2
    client.close()


def test_a_store_has_a_section_of_its_own(write_file: Callable[[str], str]) -> None:
    text = "[stores]\nenabled = fast:file, cold:file\n[cold]\nfilesystem_store_datadir = /cold\n"

    loaded = load([write_file(text + "[fast]\nfilesystem_store_datadir =\n[slow]\nfilesystem_store_datadir = /slow\n")])

    folders = {name: section.filesystem_store_datadir for name, section in loaded.settings.store_sections.items()}
    assert folders == {"cold": "/cold"}
    assert loaded.unknown == ["[slow] filesystem_store_datadir"]
