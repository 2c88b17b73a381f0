# SPDX-License-Identifier: Apache-2.0
"""`import osinfo`, with a database of our own in libosinfo's shape."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Invoke
from tests.processes import free_port

OSINFO = Path(__file__).parent / "osinfo"
ALDER = OSINFO / "os" / "example.org" / "alder-1.xml"


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A database without a broken file."""
    folder = tmp_path / "osinfo" / "os" / "example.org"
    folder.mkdir(parents=True)
    shutil.copy(ALDER, folder)
    return tmp_path / "osinfo"


def images(invoke: Invoke, database: str) -> dict[str, dict[str, Any]]:
    """The images in a database by their names."""
    listed = json.loads(invoke("image", "list", "--json", "--database", database).stdout)
    return {image["name"]: image for image in listed}


def test_each_image_of_a_virtual_machine_is_registered_once_and_the_rest_is_counted(
    invoke: Invoke, new_database: str
) -> None:
    result = invoke("import", "osinfo", "--path", OSINFO, "--database", new_database)

    assert result.stdout == "registered 5, already there 0, skipped 3, refused 1, unreadable 3\n"
    assert result.exit_code == 1
    assert set(images(invoke, new_database)) == {
        "Alder Linux 1 (generic, x86_64, qcow2)",
        "Alder Linux 1 (i386, vmdk)",
        "Alder Linux 1 (aarch64, raw, alder-1-disk.img)",
        "Alder Linux 1 (aarch64, raw, alder-1-uefi.img)",
        "Panes 7 – Büro (x86_64, vpc)",
    }


def test_an_image_has_the_properties_that_openstack_knows(invoke: Invoke, new_database: str, sound: Path) -> None:
    invoke("import", "osinfo", "--path", sound, "--database", new_database)

    image = images(invoke, new_database)["Alder Linux 1 (generic, x86_64, qcow2)"]

    assert image["location"] == "https://example.org/alder/1/alder-1-x86_64.qcow2"
    assert (image["disk_format"], image["container_format"]) == ("qcow2", "bare")
    assert (image["status"], image["is_public"]) == ("active", True)
    assert image["properties"] == {
        "architecture": "x86_64",
        "os_type": "linux",
        "os_distro": "alder",
        "os_version": "1",
        "os_codename": "cone",
        "os_vendor": "Example Club",
        "os_variant": "generic",
        "osinfo_id": "http://example.org/alder/1",
        "osinfo_short_id": "alder1",
        "cloud_init": "true",
    }


def test_names_that_openstack_has_others_for_are_translated(invoke: Invoke, new_database: str) -> None:
    invoke("import", "osinfo", "--path", OSINFO, "--database", new_database)

    found = images(invoke, new_database)

    windows = found["Panes 7 – Büro (x86_64, vpc)"]
    assert (windows["disk_format"], windows["properties"]["os_distro"]) == ("vhd", "windows")
    assert windows["properties"]["os_type"] == "windows"
    assert found["Alder Linux 1 (i386, vmdk)"]["properties"]["architecture"] == "i686"


def test_what_is_no_image_of_a_virtual_machine_is_skipped_with_its_reason(
    invoke: Invoke, new_database: str, sound: Path
) -> None:
    result = invoke("import", "osinfo", "--path", sound, "--database", new_database)

    assert result.stderr.splitlines() == [
        "skipped 1: format containerdisk is not a virtual machine's disk",
        "skipped 1: a .xz file must be unpacked first",
        "skipped 1: it has no URL",
    ]
    assert result.exit_code == 0


def test_a_second_run_registers_nothing_twice(invoke: Invoke, new_database: str, sound: Path) -> None:
    invoke("import", "osinfo", "--path", sound, "--database", new_database)
    before = images(invoke, new_database)

    result = invoke("import", "osinfo", "--path", sound, "--database", new_database)

    assert result.stdout == "registered 0, already there 4, skipped 3, refused 0, unreadable 0\n"
    assert result.exit_code == 0
    assert images(invoke, new_database) == before


def test_an_image_that_was_deleted_stays_deleted(invoke: Invoke, new_database: str, sound: Path) -> None:
    invoke("import", "osinfo", "--path", sound, "--database", new_database)
    image = images(invoke, new_database)["Alder Linux 1 (i386, vmdk)"]
    invoke("image", "delete", image["id"], "--database", new_database)

    result = invoke("import", "osinfo", "--path", sound, "--database", new_database)

    assert "already there 4" in result.stdout
    assert image["name"] not in images(invoke, new_database)


def test_files_that_cannot_be_read_are_named_with_the_reason_and_do_not_stop_the_rest(
    invoke: Invoke, new_database: str
) -> None:
    result = invoke("import", "osinfo", "--path", OSINFO, "--database", new_database)

    folder = OSINFO / "os" / "example.com"
    assert f"{folder / 'broken.xml'}: mismatched tag: line 5, column 4" in result.stderr
    assert f"{folder / 'bomb.xml'}: it declares a document type, which files of libosinfo do not" in result.stderr
    assert f"{folder / 'other.xml'}: its root element is not <libosinfo>" in result.stderr
    assert "registered 5" in result.stdout


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no element found"),
        (b"<libosinfo>\x00\xff", "not well-formed"),
        (b'<?xml version="1.0" encoding="nonsense"?><libosinfo/>', "encoding"),
        (b'<?xml version="1.0" encoding="utf-32"?><libosinfo/>', "encoding"),
    ],
)
def test_no_content_of_a_file_breaks_the_import(
    invoke: Invoke, new_database: str, sound: Path, content: bytes, reason: str
) -> None:
    (sound / "os" / "z.xml").write_bytes(content)

    result = invoke("import", "osinfo", "--path", sound, "--database", new_database)

    assert result.stdout == "registered 4, already there 0, skipped 3, refused 0, unreadable 1\n"
    assert reason in result.stderr
    assert result.exit_code == 1


def test_an_image_that_the_contract_refuses_is_named_with_the_registry_s_sentence(
    invoke: Invoke, new_database: str
) -> None:
    result = invoke("import", "osinfo", "--path", OSINFO, "--database", new_database)

    assert "Panes 7 – Büro (x86_64, vhdx): Invalid disk format 'vhdx' for image." in result.stderr


def test_without_libosinfo_s_database_the_package_is_named(invoke: Invoke, new_database: str, tmp_path: Path) -> None:
    result = invoke("import", "osinfo", "--path", tmp_path / "none", "--database", new_database)

    assert result.exit_code == 1
    assert f"no database of libosinfo at {tmp_path / 'none'}" in result.stderr
    assert "osinfo-db" in result.stderr


def test_a_server_is_given_the_images_over_http(invoke: Invoke, server: str, sqlite_database: str, sound: Path) -> None:
    first = invoke("import", "osinfo", "--path", sound, "--server", server)
    second = invoke("import", "osinfo", "--path", sound, "--server", server)

    assert first.stdout == "registered 4, already there 0, skipped 3, refused 0, unreadable 0\n"
    assert second.stdout == "registered 0, already there 4, skipped 3, refused 0, unreadable 0\n"
    assert len(images(invoke, sqlite_database)) == 4


@pytest.mark.external
def test_a_server_that_cannot_be_reached_is_one_sentence(invoke: Invoke, sound: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"

    result = invoke("import", "osinfo", "--path", sound, "--server", nowhere)

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == f"Error: The registry at {nowhere} cannot be reached: All connection attempts failed.\n"


def test_a_server_and_a_database_are_not_given_at_once(invoke: Invoke, new_database: str, sound: Path) -> None:
    result = invoke("import", "osinfo", "--path", sound, "--server", "http://registry.test", "--database", new_database)

    assert result.exit_code == 2
    assert "not both" in result.stderr
