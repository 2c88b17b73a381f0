# SPDX-License-Identifier: Apache-2.0
"""Lists: filters, order, pages (registry protocol, section 3)."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from tests.conftest import ENGINES, Client, Verbs
from tests.options import make_settings

from glance_registry.catalogue import images
from glance_registry.model.image import COMMUNITY, PUBLIC, SHARED, Image
from glance_registry.model.member import Member
from glance_registry.settings import Settings

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LONG = "x" * 300
SORT_KEYS = ["name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at"]


def _image(number: int, **fields: Any) -> Image:
    given = {"name": f"n{number}", "visibility": PUBLIC, "created_at": NOON, "updated_at": NOON, **fields}
    return Image(id=str(UUID(int=number)), **given)


def _insert(client: Client, *wanted: Image, members: tuple[Member, ...] = ()) -> None:
    client.operate(images.add_all, [images.Kept(image, members) for image in wanted])


def _settings(database: str, **more: Any) -> Settings:
    return make_settings(database, registry__contract="queens", identity__mode="context", **more)


# The shelf: images that tests only read. Created a minute apart, the first one first.
ODD_NAMES = ("a b", "=", "%41", "é&", "property-x", "A", "a", "limit", "\U0001f40b", "x" * 255)
SHELF = [
    {"name": "plain"},
    {"name": "killed", "status": "killed"},
    {"name": "queued", "status": "queued", "size": None},
    {"name": "formats", "disk_format": "qcow2", "container_format": "ovf"},
    {"name": "small", "size": 10, "min_ram": 64, "min_disk": 1},
    {"name": "large", "size": 2**63 - 1, "min_ram": 2**31 - 1, "min_disk": 2**31 - 1},
    {"name": "guarded", "protected": True},
    {"name": "twin", "properties": {"os": "linux"}},
    {"name": "twin", "properties": {"os": "linux", "arch": "x86"}},
    {"name": "long a", "properties": {"long": LONG + "a"}},
    {"name": "long b", "properties": {"long": LONG + "b", "os": "LINUX"}},
    {"name": "edge", "properties": {"long": LONG[:255], "empty": ""}},
    {"name": "odd", "properties": {name: f"v {name}" for name in ODD_NAMES}},
    {"name": "Ünï & = + %20", "properties": {"os": "ünï\U0001f40b\n"}},
    {"name": "mine", "visibility": SHARED, "owner": "me"},
    {"name": "theirs", "visibility": SHARED, "owner": "them"},
    {"name": "community", "visibility": COMMUNITY, "owner": "them"},
    {"name": "gone", "deleted_at": NOON},
    {"name": "mine gone", "visibility": SHARED, "owner": "me", "deleted_at": NOON},
    {"name": "theirs gone", "visibility": SHARED, "owner": "them", "deleted_at": NOON},
]
FILLED = {"size": 100, "disk_format": "raw", "container_format": "bare"}
PUBLIC_NAMES = {shelved["name"] for shelved in SHELF} - {
    *("mine", "theirs", "community", "gone", "mine gone", "theirs gone")
}
LISTED = PUBLIC_NAMES - {"killed"}


@pytest.fixture(scope="module", params=ENGINES)
def shelf(request: pytest.FixtureRequest, make_database: Callable[[str], str]) -> Iterator[Client]:
    client = Client(_settings(make_database(request.param)))
    for number, shelved in enumerate(SHELF):
        minute = NOON + timedelta(minutes=number)
        _insert(client, _image(number, created_at=minute, updated_at=minute, **{**FILLED, **shelved}))
    yield client
    client.close()


def _names(caller: Verbs, query: str) -> set[str]:
    names = caller.names(query)
    assert len(names) - names.count("twin") == len(set(names) - {"twin"}), "an image twice"
    return set(names)


FILTERS = [
    ("", LISTED),
    ("name=plain", {"plain"}),
    ("name=PLAIN", set()),
    ("name=plai%25", set()),
    ("name=", set()),
    ("name=%C3%9Cn%C3%AF+%26+%3D+%2B+%2520", {"Ünï & = + %20"}),
    ("status=queued", {"queued"}),
    ("status=killed", set()),
    ("status=active", LISTED - {"queued"}),
    ("status=unheard", set()),
    ("disk_format=qcow2", {"formats"}),
    ("container_format=ovf", {"formats"}),
    ("disk_format=qcow2&container_format=bare", set()),
    ("min_ram=64", {"small"}),
    ("min_ram=2147483647", {"large"}),
    ("min_disk=1", {"small"}),
    ("min_disk=0", LISTED - {"small", "large"}),
    ("size_max=10", {"small"}),
    ("size_max=9", set()),
    ("size_min=101", {"large"}),
    ("size_min=9223372036854775807", {"large"}),
    ("size_min=10&size_max=100", LISTED - {"large", "queued"}),
    ("size_min=0", LISTED - {"queued"}),
    ("protected=True", {"guarded"}),
    ("protected=1", {"guarded"}),
    ("protected=False", LISTED - {"guarded"}),
    ("property-os=linux", {"twin"}),
    ("property-os=LINUX", {"long b"}),
    ("property-OS=linux", set()),
    ("property-os=linux&property-arch=x86", {"twin"}),
    ("property-os=linux&property-arch=arm", set()),
    ("property-os=linux&name=twin&status=active&limit=1", {"twin"}),
    ("property-os=%C3%BCn%C3%AF%F0%9F%90%8B%0A", {"Ünï & = + %20"}),
    (f"property-long={LONG}a", {"long a"}),
    (f"property-long={LONG}b&property-os=LINUX", {"long b"}),
    (f"property-long={LONG}", set()),
    (f"property-long={LONG[:255]}", {"edge"}),
    (f"property-long={LONG[:254]}", set()),
    ("property-empty=", {"edge"}),
    ("property-os=", set()),
    ("property-=x", LISTED),
]


@pytest.mark.parametrize(("query", "wanted"), FILTERS)
def test_a_filter_lists_the_images_that_match_it(shelf: Client, query: str, wanted: set[str]) -> None:
    assert _names(shelf, query) == wanted


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_property_with_an_odd_name_can_be_asked_for(shelf: Client, name: str) -> None:
    value = quote(f"v {name}")

    assert _names(shelf, f"property-{quote(name, safe='')}={value}") == {"odd"}


def test_two_property_filters_must_both_match_one_image(shelf: Client) -> None:
    assert len(shelf.names("property-os=linux")) == 2
    assert len(shelf.names("property-os=linux&property-arch=x86")) == 1


IGNORED = [
    "colour=red",
    "owner=me",
    "id=1",
    "visibility=private",
    "size=1",
    "name=plain&name=odd",
    "name=plain&name=",
    "status=active&name=plain&status=queued",
    "limit=25&limit=nonsense&name=plain",
    "NAME=odd&name=plain",
    "&&name=plain&=x&",
]


@pytest.mark.parametrize("query", IGNORED)
def test_unknown_and_repeated_parameters_are_ignored(shelf: Client, query: str) -> None:
    assert _names(shelf, query) == ({"plain"} if "name=" in query else LISTED)


THEIRS = {"theirs", "community"}
EVERYTHING = LISTED | {"mine"} | THEIRS
FOR_ADMINS = [
    ("is_public=True", LISTED),
    ("is_public=False", {"mine"} | THEIRS),
    ("is_public=None", EVERYTHING),
    ("is_public=none&status=killed", set()),
    ("changes-since=2020-01-01T00:00:00Z&status=killed", {"killed"}),
    ("deleted=False", LISTED),
    ("deleted=True", {"gone"}),
    ("deleted=True&is_public=None", {"gone", "mine gone", "theirs gone"}),
    ("deleted=1&is_public=0", {"mine gone", "theirs gone"}),
    ("changes-since=2020-01-01T00:00:00Z", LISTED | {"killed", "gone"}),
    (
        "changes-since=2020-01-01T00:00:00Z&is_public=None",
        EVERYTHING | {"killed", "gone", "mine gone", "theirs gone"},
    ),
    ("changes-since=2020-01-01T00:00:00Z&deleted=False", LISTED),
    ("changes-since=2020-01-01T00:00:00Z&deleted=True", {"gone"}),
]


@pytest.mark.parametrize(("query", "wanted"), FOR_ADMINS)
def test_an_admin_may_ask_for_deleted_and_foreign_images(shelf: Client, query: str, wanted: set[str]) -> None:
    assert _names(shelf.caller("admins", "admin"), query) == wanted


FOR_OTHERS = [
    (None, set(), set()),
    ("me", {"mine"}, {"mine gone"}),
    ("them", THEIRS, {"theirs gone"}),
    ("someone", set(), set()),
]


@pytest.mark.parametrize(("project", "own", "own_gone"), FOR_OTHERS)
@pytest.mark.parametrize("roles", ["member", "service"])
def test_from_others_deleted_and_is_public_are_ignored(
    shelf: Client, project: str | None, own: set[str], own_gone: set[str], roles: str
) -> None:
    caller = shelf.caller(project, roles)

    for query in [query for query, _ in FOR_ADMINS] + ["deleted=nonsense", "is_public=nonsense"]:
        if "status=killed" in query:
            assert _names(caller, query) == ({"killed"} if "changes-since" in query else set()), query
            continue
        wanted = LISTED | own
        if "changes-since" in query:
            wanted = wanted | {"killed", "gone"} | own_gone
        assert _names(caller, query) == wanted, query


def test_killed_images_are_hidden_in_queens_but_not_in_cactus(database: str) -> None:
    names = {}
    for contract in ("queens", "cactus"):
        client = Client(make_settings(database, registry__contract=contract))
        if contract == "queens":
            _insert(client, _image(1, name="alive"), _image(2, name="killed", status="killed"))
        names[contract] = _names(client, "")
        client.close()

    assert names == {"queens": {"alive"}, "cactus": {"alive", "killed"}}


SINCE = [
    "2026-11-23T12:05:00Z",
    "2026-11-23T12:05:00.000000Z",
    "2026-11-23T12:05:00",
    "2026-11-23T12:05:00+00:00",
    "2026-11-23T14:05:00+02:00",
    "2026-11-23T14:05:00%2B02:00",
    "2026-11-23T14:05:00%2B0200",
    "2026-11-23T14:05:00 02:00",
    "2026-11-23T14:05:00+0200",
    "2026-11-23T06:35:00-05:30",
    "2026-11-23T12:05:59.999999Z",
]


@pytest.mark.parametrize("instant", SINCE)
def test_changes_since_has_what_changed_later_deleted_ones_too(shelf: Client, instant: str) -> None:
    wanted = {shelved["name"] for shelved in SHELF[6:]} & (PUBLIC_NAMES | {"gone"})

    assert _names(shelf, f"changes-since={instant}") == wanted


def test_changes_since_follows_updates_and_deletions(context: Client) -> None:
    owner, start = context.caller("p"), datetime.now(UTC).replace(tzinfo=None)
    kept, changed, gone = (owner.add(name=name, is_public=False) for name in ("kept", "changed", "gone"))
    after = max(image["updated_at"] for image in (kept, changed, gone))

    owner.put(f"/images/{changed['id']}", {"image": {"min_ram": 1}})
    owner.delete(f"/images/{gone['id']}")

    assert _names(owner, f"changes-since={start.isoformat()}") == {"kept", "changed", "gone"}
    assert _names(owner, f"changes-since={after}Z") == {"changed", "gone"}
    assert _names(context.caller("q"), f"changes-since={after}Z") == set()


WRONG = [
    *[f"limit={text}" for text in ("-1", "x", "1.5", "", "1e3", "9223372036854775808", "%D9%A1", "0x10", "9" * 5000)],
    *[f"marker={text}" for text in ("", "none", "x" * 300, "%00", "%F0%9F%90%8B", "'; DROP TABLE images; --")],
    *[f"sort_key={text}" for text in ("", "owner", "NAME", "properties", "name,id", "created_at%00")],
    *[f"sort_dir={text}" for text in ("", "up", "ASC", "asc;")],
    *[f"protected={text}" for text in ("", "maybe", "None", "2")],
    *[f"size_min={text}" for text in ("-1", "x", "", "9223372036854775808")],
    *[f"size_max={text}" for text in ("-1", "1.0", "%2B1")],
    *[f"min_ram={text}" for text in ("-1", "x", "2147483648")],
    *[f"min_disk={text}" for text in ("-1", "", "2147483648")],
    *[f"changes-since={text}" for text in ("", "yesterday", "2026-13-01T00:00:00Z", "0", "2026-11-23T25:00:00Z")],
    "changes-since=0001-01-01T00:00:00%2B14:00",
    *[f"is_public={text}" for text in ("", "maybe", "public")],
    *[f"deleted={text}" for text in ("", "maybe", "None")],
    "name=%00",
    "property-a=%00",
    "property-%00=a",
]


@pytest.mark.parametrize("query", WRONG)
def test_a_wrong_value_is_refused_with_a_sentence_that_names_the_parameter(shelf: Client, query: str) -> None:
    for path in ("/images", "/images/detail"):
        answer = shelf.caller("admins", "admin").get(f"{path}?{query}")

        assert answer.status_code == 400
        assert query.partition("=")[0].replace("%00", "\0").lower() in answer.text.lower()


@pytest.mark.parametrize("query", ["name=%ff", "%ff=a", "property-a=%ED%A0%80"])
def test_a_query_that_is_not_utf_8_is_refused(shelf: Client, query: str) -> None:
    answer = shelf.get(f"/images?{query}")

    assert (answer.status_code, answer.text) == (400, "The query string is not UTF-8.\n")


def test_a_marker_that_the_caller_may_not_see_is_refused_like_an_unknown_one(shelf: Client) -> None:
    ids = {shelved["name"]: str(UUID(int=number)) for number, shelved in enumerate(SHELF)}
    unknown = str(UUID(int=999))
    stranger, nobody = shelf.caller("strangers"), shelf

    for caller, hidden in ((stranger, "mine"), (stranger, "mine gone"), (nobody, "mine"), (nobody, "community")):
        answers = [caller.get(f"/images?marker={marker}") for marker in (ids[hidden], unknown)]

        assert [answer.status_code for answer in answers] == [400, 400]
        assert answers[0].text == answers[1].text.replace(unknown, ids[hidden])
        assert caller.get(f"/images?marker={ids['plain']}").status_code == 200


# Order and pages. Ties in every field, missing values, and times that come in groups of three.
SORTED = [
    _image(
        number,
        name=[None, "", "a", "B", "a", "é", "a b", "Z", "\U0001f40b", "\uffff"][number % 10],
        size=[None, 0, 5, 5, 2**63 - 1][number % 5],
        status=["active", "queued", "saving"][number % 3],
        disk_format=[None, "raw", "qcow2"][number % 3],
        container_format=[None, "bare"][number % 2],
        created_at=NOON + timedelta(microseconds=(number * 7) % 8 // 3),
        updated_at=NOON + timedelta(microseconds=(number * 5) % 8 // 3),
    )
    for number in (17, 3, 12, 9, 1, 14, 6, 20, 11, 8, 2, 19, 5, 13, 7)
]


@pytest.fixture(scope="module", params=ENGINES)
def ordered(request: pytest.FixtureRequest, make_database: Callable[[str], str]) -> Iterator[Client]:
    client = Client(_settings(make_database(request.param), limit_param_default=4, api_limit_max=10))
    _insert(client, *SORTED)
    yield client
    client.close()


def _place(sort_key: str) -> Callable[[Image], Any]:
    """Missing values sort as the least ones; ties break on created_at, then id, in the same direction."""

    def key(image: Image) -> Any:
        value = getattr(image, sort_key)
        least = -1 if sort_key == "size" else ""
        return (least if value is None else value, image.created_at, image.id)

    return key


def _in_order(sort_key: str, direction: str) -> list[str]:
    return [image.id for image in sorted(SORTED, key=_place(sort_key), reverse=direction == "desc")]


def _page(caller: Verbs, query: str) -> list[str]:
    answer = caller.get(f"/images/detail?{query}")
    assert answer.status_code == 200, answer.text
    return [image["id"] for image in answer.json()["images"]]


@pytest.mark.parametrize("size", [1, 4, 10])
@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize("sort_key", SORT_KEYS)
def test_pages_follow_each_other_in_the_order_asked_for(
    ordered: Client, sort_key: str, direction: str, size: int
) -> None:
    query = f"sort_key={sort_key}&sort_dir={direction}&limit={size}"
    found = page = _page(ordered, query)

    while page and len(found) <= len(SORTED):
        page = _page(ordered, f"{query}&marker={page[-1]}")
        found = found + page

    assert found == _in_order(sort_key, direction)


@pytest.mark.parametrize(
    ("query", "sort_key", "direction"),
    [("", "created_at", "desc"), ("sort_key=name", "name", "desc"), ("sort_dir=asc", "created_at", "asc")],
)
def test_without_a_word_the_newest_come_first(ordered: Client, query: str, sort_key: str, direction: str) -> None:
    assert _page(ordered, f"{query}&limit=10") == _in_order(sort_key, direction)[:10]


@pytest.mark.parametrize(
    ("query", "length"),
    [
        *(("", 4), ("limit=0", 0), ("limit=1", 1), ("limit=004", 4), ("limit=10", 10), ("limit=11", 10)),
        *((f"limit={2**63 - 1}", 10), ("limit=0&sort_key=name", 0)),
    ],
)
def test_a_page_has_as_many_images_as_asked_for_up_to_the_largest(ordered: Client, query: str, length: int) -> None:
    assert len(_page(ordered, query)) == length


def test_the_last_image_s_page_is_empty_and_a_marker_needs_no_match(ordered: Client) -> None:
    newest_first = _in_order("created_at", "desc")
    queued = {image.id for image in SORTED if image.status == "queued"}
    marker = next(image_id for image_id in newest_first if image_id not in queued)

    assert _page(ordered, f"marker={newest_first[-1]}") == []
    after = newest_first[newest_first.index(marker) + 1 :]
    wanted = [image_id for image_id in after if image_id in queued]
    assert _page(ordered, f"status=queued&limit=10&marker={marker}") == wanted


def test_a_page_has_25_images_by_default_and_1000_at_most(database: str) -> None:
    client = Client(make_settings(database))
    _insert(client, *[_image(number) for number in range(1001)])

    lengths = [len(client.names(query)) for query in ("", "limit=1000", "limit=1001", "limit=5000")]
    client.close()

    assert lengths == [25, 1000, 1000, 1000]


# updated_at is left out: a deletion changes it, so there a deleted image is no longer where it was.
@pytest.mark.parametrize("sort_key", [key for key in SORT_KEYS if key != "updated_at"])
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_paging_neither_loses_nor_repeats_an_image_while_others_come_and_go(
    context: Client, sort_key: str, direction: str
) -> None:
    _insert(context, *SORTED)
    admin, query = context.caller("a", "admin"), f"sort_key={sort_key}&sort_dir={direction}&limit=3"
    found: list[str] = []
    removed: set[str] = set()
    page = _page(admin, query)
    while page and len(found) < 100:
        found += page
        unseen = [image.id for image in SORTED if image.id not in {*found, *removed}]
        # The marker itself goes, another that was seen, one that was not; new ones come at either end.
        for image_id in {page[-1], page[0], *unseen[:1]}:
            assert admin.delete(f"/images/{image_id}").status_code == 200
            removed.add(image_id)
        if len(found) < len(SORTED):
            number, late = 100 + len(found), NOON + timedelta(hours=1)
            _insert(context, _image(number, name=""), _image(number + 500, name="\uffff", size=9, created_at=late))
        page = _page(admin, f"{query}&marker={page[-1]}")

    assert len(found) == len(set(found))
    assert {image.id for image in SORTED} - removed <= set(found)
    assert [image_id for image_id in found if image_id in _in_order("id", "asc")] == [
        image_id for image_id in _in_order(sort_key, direction) if image_id in found
    ]


def test_a_walk_by_updated_at_goes_on_while_others_come(context: Client) -> None:
    _insert(context, *SORTED)
    query = "sort_key=updated_at&sort_dir=desc&limit=4"
    found = page = _page(context, query)

    while page and len(found) <= len(SORTED):
        context.caller("a", "admin").add()
        page = _page(context, f"{query}&marker={page[-1]}")
        found = found + page

    assert found == _in_order("updated_at", "desc")


def test_a_list_of_members_images_is_paged_like_any_other(context: Client) -> None:
    shared = [_image(number, visibility=SHARED, owner="o") for number in (1, 2, 3)]
    _insert(context, *shared, members=(Member(member_id="m"),))
    member = context.caller("m")

    pages = [_page(member, "limit=2"), _page(member, f"limit=2&marker={shared[1].id}")]

    assert pages == [[shared[2].id, shared[1].id], [shared[0].id]]
    assert _page(context.caller("n"), "") == []
