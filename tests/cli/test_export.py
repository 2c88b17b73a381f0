# SPDX-License-Identifier: Apache-2.0
"""`export`, and that `import json` of it makes the same registry again."""

import json
import shutil
import stat
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.cli.conftest import Invoke
from tests.conftest import Client
from tests.options import make_settings
from tests.speeds import scaled

from glance_registry.catalogue import images, uploads
from glance_registry.catalogue.images import ImageRecord
from glance_registry.catalogue.purge import Tombstone, add_tombstones
from glance_registry.catalogue.uploads import NewUpload
from glance_registry.cli import export as export_command
from glance_registry.cli.export import BATCH_SIZE, lines
from glance_registry.cli.export_format import image_line
from glance_registry.cli.files import opened_catalogue
from glance_registry.model.access import ANYONE_IS_ADMIN
from glance_registry.model.contract import QUEENS
from glance_registry.model.image import Image, Location
from glance_registry.model.limits import OwnerLimits
from glance_registry.model.member import Member

LONG_AGO = datetime(2011, 2, 3, 4, 5, 6, 7, tzinfo=UTC)
FULL = Image(
    id="full",
    created_at=LONG_AGO,
    updated_at=LONG_AGO + timedelta(days=1),
    name='Größe "1" \\ 大\u2028\x1b[31m',
    status="pending_delete",
    visibility="community",
    disk_format="qcow2",
    container_format="docker",
    size=2**63 - 1,
    virtual_size=0,
    checksum="d41d8cd98f00b204e9800998ecf8427e",
    owner="tenant",
    min_disk=2**31 - 1,
    min_ram=1,
    protected=True,
    properties={"b": "", "ä": "x" * 300, "a": "\n", "c": None},
    locations=(
        Location("https://u:p@store/1", {"weight": 1.5, "tags": ["x", None, {"deep": True}]}, "deleted", 7),
        Location("file:///2", {}, "active", 3),
    ),
    tags=("a", "ä", "大"),
    os_hidden=True,
    os_hash_algo="sha512",
    os_hash_value="0" * 128,
    version=12,
)
GONE = Image(
    id="deleted",
    created_at=LONG_AGO,
    updated_at=LONG_AGO + timedelta(days=1),
    deleted_at=LONG_AGO + timedelta(days=2),
)
PRIVATE = Image(id="private", created_at=LONG_AGO, updated_at=LONG_AGO, visibility="private")
MEMBER = Member(member_id="b", status="accepted", created_at=LONG_AGO, updated_at=LONG_AGO + timedelta(days=1))
KEPT = (
    ImageRecord(FULL, (Member(member_id="a", can_share=True), MEMBER)),
    ImageRecord(GONE, (Member(member_id="a"),)),
    ImageRecord(PRIVATE),
    ImageRecord(Image(id="Private", created_at=LONG_AGO, updated_at=LONG_AGO, name="")),
)
TOMBSTONES = (Tombstone("gone", LONG_AGO), Tombstone("Gone", LONG_AGO + timedelta(microseconds=1)))


def fill(database: str, kept: Sequence[ImageRecord], tombstones: Sequence[Tombstone] = ()) -> None:
    with opened_catalogue(database) as (catalogue, runner):
        runner.run(catalogue.write(images.add_all, kept))
        runner.run(catalogue.write(add_tombstones, tombstones))


def read(database: str) -> list[ImageRecord]:
    with opened_catalogue(database) as (catalogue, runner):
        return runner.run(catalogue.read(images.after, None, "", 1_000))


OF_STORES = ["blob_number", "stores"]
"""An export has no bytes, so it says nothing of the stores in which they lie."""


def test_every_field_of_an_image_differs_from_its_default_in_these_tests() -> None:
    """So that a field which an export forgets fails the next test."""
    plain = Image(id="", created_at=datetime.max.replace(tzinfo=UTC), updated_at=datetime.max.replace(tzinfo=UTC))

    plain_in_all = [
        name
        for name in Image.__struct_fields__
        if all(getattr(kept.image, name) == getattr(plain, name) for kept in KEPT)
    ]
    assert plain_in_all == OF_STORES


def test_an_image_whose_bytes_are_kept_here_is_queued_where_it_is_imported(
    invoke: Invoke, sqlite_database: str, new_database: str
) -> None:
    """Its bytes stay here, and an active image can never be given any."""
    here, there = Client(make_settings(sqlite_database)), Client(make_settings(new_database))
    image = here.register(name="with bytes", os_distro="debian")
    content = {"content": b"bytes", "headers": {"Content-Type": "application/octet-stream"}}
    assert here.request("PUT", image["file"], **content).status_code == 204

    exported = invoke("export", "--database", sqlite_database).stdout_bytes
    invoke("import", "json", "-", "--database", new_database, input=exported)

    assert here.get(image["file"]).content == b"bytes"
    assert there.get(image["self"]).json() == {**image, "updated_at": here.get(image["self"]).json()["updated_at"]}
    assert invoke("export", "--database", new_database).stdout_bytes == exported
    assert there.request("PUT", image["file"], **content).status_code == 204
    assert there.get(image["file"]).content == b"bytes"
    here.close()
    there.close()


def test_an_image_whose_bytes_come_at_that_moment_is_queued_where_it_is_imported(
    invoke: Invoke, sqlite_database: str, new_database: str
) -> None:
    """Nobody uploads the rest there. One that an API server stores elsewhere stays `saving`."""
    here, there = Client(make_settings(sqlite_database)), Client(make_settings(new_database))
    ours, theirs = here.register(name="ours"), here.register(name="theirs")
    here.put(f"/images/{theirs['id']}", {"image": {"status": "saving"}})
    new = NewUpload(id="0" * 32, store="local", announced=5, expires_at=datetime.now(UTC) + timedelta(minutes=1))
    with opened_catalogue(sqlite_database) as (catalogue, runner):
        begin = catalogue.write(uploads.begin, ours["id"], new, OwnerLimits(), datetime.now(UTC), ANYONE_IS_ADMIN)
        runner.run(begin)

    exported = invoke("export", "--database", sqlite_database).stdout_bytes
    invoke("import", "json", "-", "--database", new_database, input=exported)

    assert here.get(ours["self"]).json()["status"] == "saving"
    assert (there.get(ours["self"]).json()["status"], there.get(ours["self"]).json()["size"]) == ("queued", None)
    assert there.get(theirs["self"]).json()["status"] == "saving"
    here.close()
    there.close()


def test_an_image_whose_bytes_are_also_elsewhere_stays_active() -> None:
    location = Location("https://images.test/i", id=1)
    image = Image(
        id="a", created_at=LONG_AGO, updated_at=LONG_AGO, size=5, locations=(location,), blob_number=1, stores=("s",)
    )

    line = json.loads(image_line(ImageRecord(image)))

    assert (line["status"], line["size"], line["location"]) == ("active", 5, location.url)
    assert "stores" not in line


def test_an_export_imported_elsewhere_is_the_same_catalogue_and_the_same_export(
    invoke: Invoke, database: str, other_database: str, tmp_path: Path
) -> None:
    fill(database, KEPT, TOMBSTONES)
    first, second = tmp_path / "first", tmp_path / "second"

    invoke("export", first, "--database", database)
    result = invoke("import", "json", first, "--database", other_database)
    invoke("export", second, "--database", other_database)

    assert result.stdout == "registered 4, tombstones 2, already there 0, refused 0\n"
    assert first.read_bytes() == second.read_bytes()
    assert read(other_database) == read(database) == sorted(KEPT, key=lambda kept: kept.image.id)


def test_what_the_api_did_survives_the_move(invoke: Invoke, sqlite_database: str, new_database: str) -> None:
    at = ("--database", sqlite_database)
    kind = ("--disk-format", "raw", "--container-format", "bare")
    invoke("image", "add", *at, *kind, "--id", "kept", "--private", "--property", "a=ü", "--location", "http://a")
    invoke("image", "set", *at, "kept", "--location", "http://b", "--min-ram", 1)
    for image_id in ("deleted", "purged"):
        invoke("image", "add", *at, *kind, "--id", image_id)
        invoke("image", "delete", *at, image_id)
        if image_id == "deleted":
            continue
        assert invoke("db", "purge", *at, "--older-than", 0).stdout == "Purged 2 images.\n"
    before = invoke("export", *at).stdout_bytes

    invoke("import", "json", "-", "--database", new_database, input=before)

    assert invoke("export", "--database", new_database).stdout_bytes == before
    assert [json.loads(line)["id"] for line in before.splitlines()] == ["kept", "deleted", "purged"]
    refused = invoke("image", "add", "--database", new_database, *kind, "--id", "purged")
    assert "Image with identifier purged already exists!" in refused.stderr


def test_a_line_is_the_image_as_the_api_shows_it_and_more(invoke: Invoke, sqlite_database: str) -> None:
    fill(sqlite_database, [ImageRecord(PRIVATE)])

    (line,) = invoke("export", "--database", sqlite_database).stdout.splitlines()

    shown = json.loads(invoke("image", "show", "private", "--json", "--database", sqlite_database).stdout)
    more = {"tags": [], "os_hidden": False, "os_hash_algo": None, "os_hash_value": None}
    assert json.loads(line) == {**shown, **more, "visibility": "private", "version": 1, "members": []}


def test_an_export_does_not_depend_on_the_order_in_which_properties_were_given() -> None:
    def with_properties(*names: str) -> bytes:
        return image_line(
            ImageRecord(Image(id="a", created_at=LONG_AGO, updated_at=LONG_AGO, properties=dict.fromkeys(names, "")))
        )

    assert with_properties("a", "b") == with_properties("b", "a")


def test_an_export_reads_a_portion_at_a_time(sqlite_database: str) -> None:
    """What is registered while it runs still comes, because it has not been read yet."""
    fill(sqlite_database, [ImageRecord(_numbered(number)) for number in range(BATCH_SIZE)])
    with opened_catalogue(sqlite_database) as (catalogue, runner):
        written = lines(catalogue, runner)
        first = next(written)
        runner.run(catalogue.write(images.add_all, [ImageRecord(_numbered(BATCH_SIZE))]))
        rest = list(written)

    assert json.loads(first)["id"] == "000000"
    assert [json.loads(line)["id"] for line in rest] == [f"{number:06}" for number in range(1, BATCH_SIZE + 1)]


def _numbered(number: int) -> Image:
    # All of one time: the id decides, also where a portion ends.
    return Image(id=f"{number:06}", created_at=LONG_AGO, updated_at=LONG_AGO)


def test_a_file_is_for_its_owner_alone_also_when_it_was_not_before(
    invoke: Invoke, sqlite_database: str, tmp_path: Path
) -> None:
    file = tmp_path / "export"
    file.write_text("old")
    file.chmod(0o644)

    result = invoke("export", file, "--database", sqlite_database)

    assert result.stdout == f"Exported 0 lines to {file}.\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes() == b""


def test_an_export_that_fails_leaves_what_there_was(
    invoke: Invoke, sqlite_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sqlite_database, KEPT, TOMBSTONES)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "export").write_text("old")

    def no_room(_: Tombstone) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export_command, "tombstone_line", no_room)
    result = invoke("export", folder / "export", "--database", sqlite_database)

    assert result.exit_code == 1
    assert result.stderr == f"Error: Cannot write {folder / 'export'}: No space left on device.\n"
    assert [(file.name, file.read_text()) for file in folder.iterdir()] == [("export", "old")]


def test_a_link_is_followed_and_what_is_no_file_is_left_alone(
    invoke: Invoke, sqlite_database: str, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")

    invoke("export", tmp_path / "link", "--database", sqlite_database)
    device = invoke("export", "/dev/null", "--database", sqlite_database)

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").is_file()
    assert device.exit_code == 1
    assert "not a plain file" in device.stderr


def test_a_folder_that_is_not_there_is_one_sentence(invoke: Invoke, sqlite_database: str, tmp_path: Path) -> None:
    result = invoke("export", tmp_path / "none" / "export", "--database", sqlite_database)

    assert result.exit_code == 1
    assert result.stderr.endswith(": No such file or directory.\n")


def test_a_database_without_tables_is_not_exported(invoke: Invoke, new_database: str) -> None:
    result = invoke("export", "--database", new_database)

    assert result.exit_code == 1
    assert "run: glance-registry db upgrade" in result.stderr


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
TIMES = st.datetimes(timezones=st.just(UTC))
IDS = st.from_regex(r"[A-Za-z0-9._~-]{1,36}", fullmatch=True).filter(lambda text: text not in (".", "..", "detail"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
LOCATIONS = st.lists(
    st.builds(
        Location,
        NAMES,
        st.dictionaries(TEXTS, JSON, max_size=3),
        st.sampled_from(["active", "pending_delete", "deleted"]),
        st.integers(1, 2**31),
    ),
    max_size=3,
    unique_by=(lambda place: place.url, lambda place: place.id),
).map(tuple)
SIZES = st.none() | st.integers(0, 2**63 - 1)
WHOLE = st.integers(0, 2**31 - 1)


def _sound(image: Image) -> Image:
    """In the order of the times; a deleted image has no contents."""
    created_at, *later = sorted(time for time in (image.created_at, image.updated_at, image.deleted_at) if time)
    contents = {} if image.deleted_at is None else {"deleted_at": later[-1], "properties": {}, "locations": ()}
    return structs.replace(image, created_at=created_at, updated_at=later[0], **contents)


IMAGES = st.builds(
    Image,
    id=IDS,
    created_at=TIMES,
    updated_at=TIMES,
    deleted_at=st.none() | TIMES,
    name=st.none() | TEXTS,
    status=st.sampled_from(sorted(QUEENS.statuses)),
    visibility=st.sampled_from(["public", "community", "shared", "private"]),
    disk_format=st.none() | TEXTS,
    container_format=st.none() | TEXTS,
    size=SIZES,
    virtual_size=SIZES,
    checksum=st.none() | TEXTS,
    owner=st.none() | TEXTS.filter(bool),
    min_disk=WHOLE,
    min_ram=WHOLE,
    protected=st.booleans(),
    properties=st.dictionaries(NAMES, st.none() | TEXTS, max_size=4),
    locations=LOCATIONS,
    version=st.integers(1, 2**31 - 1),
).map(_sound)
MEMBERS = st.lists(
    st.builds(Member, member_id=NAMES, can_share=st.booleans()), max_size=3, unique_by=lambda member: member.member_id
).map(lambda members: tuple(sorted(members, key=lambda member: member.member_id)))


@settings(max_examples=scaled(30))
@given(
    kept=st.lists(st.builds(ImageRecord, IMAGES, MEMBERS), max_size=5, unique_by=lambda kept: kept.image.id),
    tombstones=st.lists(st.builds(Tombstone, IDS, TIMES), max_size=3),
)
def test_the_export_of_any_catalogue_is_identical_after_an_import(
    invoke: Invoke, sqlite_template: Path, kept: list[ImageRecord], tombstones: list[Tombstone]
) -> None:
    with TemporaryDirectory() as folder:
        here, there = (f"sqlite:///{shutil.copy(sqlite_template, Path(folder, name))}" for name in ("here", "there"))
        fill(here, kept, tombstones)
        first = invoke("export", "--database", here).stdout_bytes

        result = invoke("import", "json", "-", "--database", there, input=first)

        assert result.exit_code == 0, result.stderr
        assert invoke("export", "--database", there).stdout_bytes == first
        assert read(there) == sorted(kept, key=lambda one: (one.image.created_at, one.image.id))
