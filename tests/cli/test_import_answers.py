# SPDX-License-Identifier: Apache-2.0
"""`import json` of what the Images API v2 answers, this registry's and Glance's: all of it, or a refusal."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.cli.conftest import Invoke
from tests.cli.test_export import read
from tests.conftest import Client
from tests.options import make_settings
from tests.speeds import scaled

from glance_registry.catalogue.images import ImageRecord, add_all
from glance_registry.cli.export_format import read_line
from glance_registry.model.contract import QUEENS
from glance_registry.model.image import ACTIVE, Image, Location

LONG_AGO = datetime(2011, 2, 3, 4, 5, 6, tzinfo=UTC)
ANSWER: dict[str, Any] = {
    "id": "1bea47ed-f6a9-463b-b423-14b9cca9ad27",
    "name": "cirros",
    "status": "active",
    "visibility": "shared",
    "protected": True,
    "os_hidden": True,
    "owner": "5ef70662f8b34079a6eddb8da9d75fe8",
    "disk_format": "qcow2",
    "container_format": "bare",
    "size": 13167616,
    "virtual_size": None,
    "min_disk": 1,
    "min_ram": 64,
    "checksum": "443b7623e27ecf03dc9e01ee93f67afe",
    "os_hash_algo": "sha512",
    "os_hash_value": "0" * 128,
    "tags": ["lts", " cloud "],
    "created_at": "2014-11-07T17:07:06Z",
    "updated_at": "2014-11-07T17:19:09Z",
    "locations": [{"url": "rbd://a/b", "metadata": {"store": "ceph"}}],
    "direct_url": "rbd://a/b",
    "os_distro": "cirros",
    "hw_disk_bus": "scsi",
    "kernel_id": None,
    "self": "/v2/images/1bea47ed-f6a9-463b-b423-14b9cca9ad27",
    "file": "/v2/images/1bea47ed-f6a9-463b-b423-14b9cca9ad27/file",
    "schema": "/v2/schemas/image",
}
COUNT = "registered {}, tombstones 0, already there 0, refused 0"
NO_MEMBERS = "{} of them are answers of the Images API, which do not include members."


def test_all_that_an_answer_says_is_registered(invoke: Invoke, database: str) -> None:
    result = invoke("import", "json", "-", "--database", database, input=json.dumps(ANSWER))

    assert result.stdout.splitlines() == [COUNT.format(1), NO_MEMBERS.format(1)]
    (kept,) = read(database)
    assert kept.image == Image(
        id=ANSWER["id"],
        name="cirros",
        status=ACTIVE,
        visibility="shared",
        protected=True,
        os_hidden=True,
        owner=ANSWER["owner"],
        disk_format="qcow2",
        container_format="bare",
        size=13167616,
        min_disk=1,
        min_ram=64,
        checksum=ANSWER["checksum"],
        os_hash_algo="sha512",
        os_hash_value="0" * 128,
        tags=("cloud", "lts"),
        created_at=datetime(2014, 11, 7, 17, 7, 6, tzinfo=UTC),
        updated_at=datetime(2014, 11, 7, 17, 19, 9, tzinfo=UTC),
        locations=(Location("rbd://a/b", {"store": "ceph"}, ACTIVE, 1),),
        properties={"os_distro": "cirros", "hw_disk_bus": "scsi"},
    )


def test_a_direct_url_is_a_location(invoke: Invoke, sqlite_database: str) -> None:
    answer = {name: value for name, value in ANSWER.items() if name != "locations"}

    invoke("import", "json", "-", "--database", sqlite_database, input=json.dumps(answer))

    assert [place.url for place in read(sqlite_database)[0].image.locations] == ["rbd://a/b"]


def test_the_summary_says_what_the_answers_did_not(invoke: Invoke, sqlite_database: str) -> None:
    bare = {name: value for name, value in ANSWER.items() if name not in ("locations", "direct_url")}
    queued = {**bare, "id": ANSWER["id"].replace("1", "2"), "status": "queued", "stores": "a", "os_glance_x": ""}

    text = json.dumps([bare, queued])
    result = invoke("import", "json", "-", "--database", sqlite_database, input=text)

    assert result.stdout.splitlines() == [
        COUNT.format(2),
        NO_MEMBERS.format(2),
        "1 of these have bytes, but the answer does not say where they lie.",
        "Left out, since only the Glance that wrote them can use them: os_glance_x, stores.",
    ]


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("os_distro", 5, "Field 'os_distro' must be a text"),
        ("properties", {"a": "b"}, "Field 'properties' must be a text"),
        ("locations", "rbd://a/b", "Field 'locations' must be a list of objects."),
        ("locations", [{"url": "a", "format": "b"}], "unknown field 'format'"),
        ("locations", [{"url": "a"}, {"url": "a", "metadata": {"x": 1}}], "the same url twice"),
        ("locations", [{"metadata": {}}], "location_data"),
        ("direct_url", 5, "Field 'direct_url' must be a text."),
        ("visibility", "secret", "'visibility'"),
        ("tags", [5], "'tags"),
        ("created_at", "then", "'created_at'"),
    ],
)
def test_an_answer_that_cannot_be_read_whole_is_refused(
    invoke: Invoke, sqlite_database: str, field: str, value: Any, sentence: str
) -> None:
    text = json.dumps(ANSWER) + "\n" + json.dumps({**ANSWER, "id": "0" * 32, field: value})

    result = invoke("import", "json", "-", "--database", sqlite_database, input=text)

    assert result.exit_code == 1
    assert result.stderr.startswith("line 2: ")
    assert sentence in result.stderr
    assert [kept.image.id for kept in read(sqlite_database)] == [ANSWER["id"]]


def test_an_answer_whose_marks_were_removed_is_not_taken_for_a_record(invoke: Invoke, sqlite_database: str) -> None:
    answer = {name: value for name, value in ANSWER.items() if name not in ("self", "file", "schema")}

    result = invoke("import", "json", "-", "--database", sqlite_database, input=json.dumps(answer))

    assert "line 1: Field 'locations' is unknown." in result.stderr
    assert read(sqlite_database) == []


SECOND = {**ANSWER, "id": "2bea47ed-f6a9-463b-b423-14b9cca9ad27"}
BROKEN = {**ANSWER, "id": "not an id"}
LIST = {"first": "/v2/images", "images": [ANSWER, SECOND, BROKEN], "schema": "/v2/schemas/images"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (json.dumps(LIST), 1),
        ("\n" + json.dumps(LIST, indent=1), 83),
        (json.dumps({"images": [ANSWER]}) + "\n" + json.dumps({"images": [SECOND, BROKEN]}), 2),
    ],
    ids=["one line", "many lines", "pages"],
)
def test_a_list_stands_for_its_images(invoke: Invoke, sqlite_database: str, text: str, line: int) -> None:
    result = invoke("import", "json", "-", "--database", sqlite_database, input=text)

    assert result.stdout.startswith("registered 2, tombstones 0, already there 0, refused 1\n")
    assert result.stderr.startswith(f"line {line}: Invalid image id")


def test_one_image_over_many_lines_is_read(invoke: Invoke, sqlite_database: str) -> None:
    result = invoke("import", "json", "-", "--database", sqlite_database, input=json.dumps(ANSWER, indent=2))

    assert result.stdout.startswith("registered 1,")


def test_a_list_that_goes_on_elsewhere_says_so(invoke: Invoke, sqlite_database: str) -> None:
    text = json.dumps({"images": [ANSWER], "next": "/v2/images?marker=" + ANSWER["id"]})

    result = invoke("import", "json", "-", "--database", sqlite_database, input=text)

    assert result.stderr.startswith("line 1: The list of images continues at '/v2/images?marker=")
    assert result.stdout.startswith("registered 1,")


def test_a_first_line_that_is_broken_does_not_stop_the_rest(invoke: Invoke, sqlite_database: str) -> None:
    text = '{"name":\n\n' + json.dumps(ANSWER) + "\n{\n"

    result = invoke("import", "json", "-", "--database", sqlite_database, input=text)

    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == ["line 1", "line 4"]
    assert result.stdout.startswith("registered 1,")


texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
# What the Images API shows as a property: every name that no field of it has.
names = texts.filter(
    lambda name: name and name not in ANSWER.keys() - {"os_distro"} and not name.startswith(("os_glance", "stores"))
)
whole_seconds = st.datetimes(timezones=st.just(UTC)).map(lambda time: time.replace(microsecond=0, year=2000))
digests = st.sampled_from([(None, None), ("sha256", "1" * 64), ("sha512", "0" * 128)])


@st.composite
def active_images(draw: Any) -> Image:
    created_at = draw(whole_seconds)
    algorithm, value = draw(digests)
    # Locations that hold credentials are not in such an answer.
    urls = draw(st.lists(texts.map(lambda text: "https://" + text.replace("@", "")), unique=True, max_size=3))
    return Image(
        id="",
        created_at=created_at,
        updated_at=created_at + timedelta(seconds=draw(st.integers(0, 9))),
        name=draw(st.none() | texts),
        visibility=draw(st.sampled_from(["public", "community", "shared", "private"])),
        disk_format=draw(st.sampled_from([None, "qcow2"])),
        container_format="bare",
        size=draw(st.none() | st.integers(0, 2**63 - 1)),
        virtual_size=draw(st.none() | st.integers(0, 2**63 - 1)),
        checksum=draw(st.none() | st.just("0" * 32)),
        owner=draw(st.none() | texts.filter(bool)),
        min_disk=draw(st.integers(0, 9)),
        min_ram=draw(st.integers(0, 2**31 - 1)),
        protected=draw(st.booleans()),
        properties=draw(st.dictionaries(names, texts, max_size=5)),
        locations=tuple(
            Location(url, draw(st.dictionaries(texts, texts, max_size=2)), ACTIVE, number)
            for number, url in enumerate(urls, 1)
        ),
        tags=tuple(sorted(draw(st.sets(texts.map(str.strip).filter(bool), max_size=3)))),
        os_hidden=draw(st.booleans()),
        os_hash_algo=algorithm,
        os_hash_value=value,
    )


@pytest.fixture
def with_locations(sqlite_database: str) -> Iterator[Client]:
    client = Client(
        make_settings(
            sqlite_database,
            images__show_multiple_locations=True,
            images__show_image_direct_url=True,
        )
    )
    yield client
    client.close()


@settings(max_examples=scaled(100))
@given(image=active_images())
def test_the_answer_of_this_registry_says_all_of_an_image(with_locations: Client, image: Image) -> None:
    image = structs.replace(image, id=str(uuid4()))  # All examples are in one registry.
    with_locations.operate(add_all, [ImageRecord(image)])
    shown = with_locations.get(f"/v2/images/{image.id}").content

    kept = read_line(shown, QUEENS, lambda: LONG_AGO, lambda: "new")
    assert isinstance(kept, ImageRecord)
    assert structs.asdict(kept.image) == structs.asdict(image)


def test_the_list_of_this_registry_imported_elsewhere_is_the_same_list(
    invoke: Invoke, with_locations: Client, new_database: str, sqlite_database: str
) -> None:
    invoke("import", "json", "-", "--database", sqlite_database, input=json.dumps([ANSWER, SECOND]))
    listed = with_locations.get("/v2/images?os_hidden=true&visibility=all").content

    invoke("import", "json", "-", "--database", new_database, input=listed)

    assert len(read(new_database)) == 2
    assert read(new_database) == read(sqlite_database)
