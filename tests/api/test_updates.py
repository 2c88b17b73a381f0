# SPDX-License-Identifier: Apache-2.0
"""Updates: given fields change, the rest stay (registry protocol, section 3)."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.conftest import ENGINES, Client
from tests.options import make_settings

A, B, C = "swift+http://a/1", "rbd://b/2", "file:///c/3"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
PURGE = {"X-Glance-Registry-Purge-Props": "true"}


def _but_for_the_time(image: dict[str, Any]) -> dict[str, Any]:
    return {**image, "updated_at": None}


@pytest.fixture(scope="module", params=ENGINES)
def registry(request: pytest.FixtureRequest, make_database: Callable[[str], str]) -> Iterator[Client]:
    """One for all tests that look at no image but their own; with the queens contract."""
    client = Client(make_settings(make_database(request.param), registry__contract="queens"))
    yield client
    client.close()


CHANGES: list[dict[str, Any]] = [
    {"name": "new"},
    {"name": None},
    {"name": ""},
    {"name": "x" * 255},
    {"status": "deactivated"},
    {"disk_format": "iso", "container_format": "docker"},
    {"disk_format": None, "container_format": None},
    {"size": 0},
    {"size": None},
    {"size": 2**63 - 1, "virtual_size": 2**63 - 1},
    {"virtual_size": None},
    {"checksum": "c" * 32},
    {"checksum": None},
    {"owner": "somebody else"},
    {"owner": None},
    {"min_disk": 2**31 - 1, "min_ram": 0},
    {"is_public": False},
    {"protected": True},
    {},
]


@pytest.mark.parametrize("change", CHANGES)
def test_given_fields_change_and_the_rest_stay(registry: Client, change: dict[str, Any]) -> None:
    image = registry.add(size=7, virtual_size=8, checksum="a", owner="o", min_disk=1, min_ram=2, properties={"a": "1"})

    answer = registry.put(f"/images/{image['id']}", {"image": change})

    assert answer.status_code == 200
    assert _but_for_the_time(answer.json()["image"]) == _but_for_the_time({**image, **change})
    assert answer.json()["image"] == registry.show(image["id"])


@pytest.mark.parametrize("field", ["created_at", "updated_at", "deleted_at", "deleted", "version", "visibility", "x"])
@pytest.mark.parametrize("value", ["2001-01-01T00:00:00.000000", None, True, 7, [], "community"])
def test_fields_that_a_client_may_not_set_are_ignored(sqlite_client: Client, field: str, value: Any) -> None:
    given = sqlite_client.add(**{field: value})
    plain = sqlite_client.add()

    answer = sqlite_client.put(f"/images/{given['id']}", {"image": {field: value, "name": "new"}})

    own = {"id": None, "created_at": None, "updated_at": None}
    assert {**given, **own} == {**plain, **own}
    assert answer.json()["image"]["created_at"] == given["created_at"]
    assert {**answer.json()["image"], **own} == {**plain, **own, "name": "new"}


def test_an_update_sets_the_time_of_the_last_change_alone(client: Client) -> None:
    image = client.add()

    changed = client.put(f"/images/{image['id']}", {"image": {}}).json()["image"]

    assert changed["updated_at"] > image["updated_at"]
    assert changed["created_at"] == image["created_at"]


@pytest.mark.parametrize("body", [None, [], {}, {"image": []}, {"image": {"min_disk": -1}}, {"image": {}}])
def test_an_unknown_id_is_not_found_whatever_the_body(registry: Client, body: Any) -> None:
    for image_id in (UNKNOWN, "x", "%C3%A9", "x" * 40):
        answer = registry.put(f"/images/{image_id}", body)

        assert (answer.status_code, answer.text) == (404, "Image not found\n")


@pytest.mark.parametrize("given", [UNKNOWN, "x", 7, ""])
def test_an_image_keeps_its_id(registry: Client, given: object) -> None:
    image = registry.add()

    answer = registry.put(f"/images/{image['id']}", {"image": {"id": given, "name": "new"}})

    assert answer.status_code == 400
    assert "'id'" in answer.text
    assert registry.show(image["id"]) == image


def test_a_refused_update_changes_nothing(queens: Client) -> None:
    image = queens.add(properties={"a": "1"}, location=A)
    good = {"name": "new", "properties": {"b": "2"}, "location": B, "status": "saving"}

    for wrong in ({"min_disk": -1}, {"status": "unheard"}, {"size": 2**63}, {"properties": {"b": []}}):
        answer = queens.put(f"/images/{image['id']}", {"image": {**good, **wrong}}, headers=PURGE)

        assert answer.status_code == 400
    assert queens.show(image["id"]) == image


# properties before, given, purge, after
PROPERTIES = [
    ({"a": "1"}, {"b": "2"}, False, {"a": "1", "b": "2"}),
    ({"a": "1"}, {"a": "2"}, False, {"a": "2"}),
    ({"a": "1"}, {}, False, {"a": "1"}),
    ({"a": "1"}, None, False, {"a": "1"}),
    ({"a": "1", "b": "2"}, {"a": "1"}, True, {"a": "1"}),
    ({"a": "1", "b": "2"}, {"c": "3"}, True, {"c": "3"}),
    ({"a": "1"}, {}, True, {}),
    ({"a": "1", "A": "2"}, {"A": "2"}, True, {"A": "2"}),
    ({"a": "x" * 65_000}, {"é": "\n\t"}, False, {"a": "x" * 65_000, "é": "\n\t"}),
    ({"a": "x" * 300}, {"a": "x" * 301}, True, {"a": "x" * 301}),
]


@pytest.mark.parametrize(("before", "given", "purge", "after"), PROPERTIES)
def test_properties_are_set_and_with_purge_the_others_go(
    registry: Client, before: dict[str, str], given: Any, purge: bool, after: dict[str, str]
) -> None:
    image = registry.add(properties=before)

    answer = registry.put(f"/images/{image['id']}", {"image": {"properties": given}}, headers=PURGE if purge else {})

    assert answer.json()["image"]["properties"] == registry.show(image["id"])["properties"] == after


def test_what_filters_find_follows_the_properties(queens: Client) -> None:
    image = queens.add(name="i", properties={"a": "1", "long": "x" * 300})
    path = f"/images/{image['id']}"

    queens.put(path, {"image": {"properties": {"a": "2"}}})
    assert queens.names("property-a=1") == []
    assert queens.names(f"property-a=2&property-long={'x' * 300}") == ["i"]
    queens.put(path, {"image": {"properties": {"a": "1"}}}, headers=PURGE)
    assert queens.names("property-a=1") == ["i"]
    assert queens.names(f"property-long={'x' * 300}") == []


def test_an_image_has_128_properties_at_most(queens: Client) -> None:
    image = queens.add(properties={f"p{number}": "" for number in range(128)})
    path = f"/images/{image['id']}"

    refused = queens.put(path, {"image": {"properties": {"one more": ""}}})
    purged = queens.put(path, {"image": {"properties": {"one more": ""}}}, headers=PURGE)

    assert (refused.status_code, purged.status_code) == (400, 200)
    assert "properties" in refused.text
    assert purged.json()["image"]["properties"] == {"one more": ""}


def test_from_state_is_a_compare_and_set(queens: Client) -> None:
    image = queens.add(status="queued", properties={"a": "1"})
    path = f"/images/{image['id']}"
    change = {"status": "saving", "name": "new", "properties": {"b": "2"}, "location": A}

    refused = queens.put(path, {"image": change, "from_state": "active"}, headers=PURGE)
    assert (refused.status_code, refused.text) == (409, "Image operation conflicts\n")
    assert queens.show(image["id"]) == image

    assert queens.put(path, {"image": change, "from_state": "queued"}).json()["image"]["status"] == "saving"
    assert queens.put(path, {"image": change, "from_state": "queued"}).status_code == 409


@pytest.mark.parametrize("body", [{}, {"from_state": None}])
def test_without_from_state_any_status_will_do(registry: Client, body: dict[str, Any]) -> None:
    image = registry.add(status="killed")

    assert registry.put(f"/images/{image['id']}", {"image": {"status": "queued"}, **body}).status_code == 200


@pytest.mark.parametrize(
    ("state", "status"), [("", 409), ("ACTIVE", 409), ("unheard", 409), (7, 400), (["active"], 400)]
)
def test_a_state_that_no_image_is_in_never_matches(registry: Client, state: Any, status: int) -> None:
    image = registry.add(status="active")

    assert registry.put(f"/images/{image['id']}", {"image": {}, "from_state": state}).status_code == status


def test_of_uploads_at_the_same_time_one_wins(queens: Client) -> None:
    image = queens.add(status="queued")
    path = f"/images/{image['id']}"
    rivals = [{"image": {"status": "saving", "name": f"r{number}"}, "from_state": "queued"} for number in range(12)]

    answers = queens.at_once([("PUT", path, rival) for rival in rivals])

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 11
    (winner,) = (answer.json()["image"] for answer in answers if answer.status_code == 200)
    assert queens.show(image["id"]) == winner


def test_updates_of_different_fields_at_the_same_time_all_count(queens: Client) -> None:
    image = queens.add()
    path = f"/images/{image['id']}"

    answers = queens.at_once([("PUT", path, {"image": {"properties": {f"p{n}": "x"}}}) for n in range(12)])

    assert {answer.status_code for answer in answers} == {200}
    assert queens.show(image["id"])["properties"] == {f"p{n}": "x" for n in range(12)}


def _shown(url: str, status: str = "active", metadata: Any = None) -> dict[str, Any]:
    return {"url": url, "metadata": metadata or {}, "status": status}


def _entry(url: str, **more: Any) -> dict[str, Any]:
    return {"url": url, **more}


LONG = "file:///" + "x" * 4088

# What is given, what there is after it; at first there is A.
LOCATIONS: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
    ({}, [_shown(A)]),
    ({"location": None}, [_shown(A)]),
    ({"location": ""}, [_shown(A)]),
    ({"location_data": None}, [_shown(A)]),
    ({"location_data": []}, [_shown(A)]),
    ({"location": None, "location_data": []}, [_shown(A)]),
    ({"location": A}, [_shown(A)]),
    ({"location": B}, [_shown(B)]),
    ({"location_data": [_entry(B)]}, [_shown(B)]),
    ({"location": A, "location_data": [_entry(A)]}, [_shown(A)]),
    ({"location": A, "location_data": [_entry(A, metadata={"k": 1})]}, [_shown(A, metadata={"k": 1})]),
    ({"location": B, "location_data": [_entry(C)]}, [_shown(B), _shown(C)]),
    ({"location": C, "location_data": [_entry(B), _entry(C)]}, [_shown(B), _shown(C)]),
    ({"location": None, "location_data": [_entry(B), _entry(A)]}, [_shown(B), _shown(A)]),
    ({"location_data": [_entry(A), _entry(A)]}, [_shown(A)]),
    ({"location_data": [_entry(A, id=1), _entry(B, id=None)]}, [_shown(A), _shown(B)]),
    ({"location_data": [_entry(A, status="deleted"), _entry(B)]}, [_shown(A, "deleted"), _shown(B)]),
    ({"location_data": [_entry(A, status="pending_delete")]}, [_shown(A, "pending_delete")]),
    ({"location_data": [_entry(B, extra=1)]}, [_shown(B)]),
    ({"location": LONG}, [_shown(LONG)]),
]


@pytest.mark.parametrize(("given", "after"), LOCATIONS)
def test_locations_are_replaced_when_given(
    registry: Client, given: dict[str, Any], after: list[dict[str, Any]]
) -> None:
    image = registry.add(location=A)
    assert image["location_data"] == [_shown(A)]

    changed = registry.put(f"/images/{image['id']}", {"image": given}).json()["image"]

    assert changed["location_data"] == registry.show(image["id"])["location_data"] == after
    assert changed["location"] == next((place["url"] for place in after if place["status"] == "active"), None)


def test_a_location_is_shown_when_it_is_the_first_in_use(queens: Client) -> None:
    places = [_entry(A, status="deleted"), _entry(B, status="pending_delete"), _entry(C), _entry("http://d/d")]

    image = queens.add(location_data=places)

    assert image["location"] == C
    assert [entry["url"] for entry in image["location_data"]] == [entry["url"] for entry in places]


WRONG_LOCATIONS: list[dict[str, Any]] = [
    {"location": 7},
    {"location": ["a"]},
    {"location": LONG + "x"},
    {"location_data": "a"},
    {"location_data": {"url": A}},
    {"location_data": [A]},
    {"location_data": [{"metadata": {}}]},
    {"location_data": [_entry("")]},
    {"location_data": [_entry(A, metadata=[])]},
    {"location_data": [_entry(A, status="gone")]},
    {"location_data": [_entry(A), _entry(LONG + "x")]},
]


@pytest.mark.parametrize("given", WRONG_LOCATIONS)
def test_a_wrong_location_is_refused_by_the_name_of_its_field(sqlite_client: Client, given: dict[str, Any]) -> None:
    image = sqlite_client.add(location=A)

    answer = sqlite_client.put(f"/images/{image['id']}", {"image": given})

    assert answer.status_code == 400
    assert f"'{next(iter(given))}" in answer.text
    assert sqlite_client.show(image["id"]) == image


def test_an_owner_keeps_its_images_whatever_it_says(context: Client) -> None:
    owner, admin = context.caller("o"), context.caller("a", "admin")
    image = owner.add(owner="somebody else")
    path = f"/images/{image['id']}"
    assert image["owner"] == "o"

    for given in ("somebody else", None, "o"):
        assert owner.put(path, {"image": {"owner": given}}).json()["image"]["owner"] == "o"

    assert admin.put(path, {"image": {"owner": "p"}}).json()["image"]["owner"] == "p"
    assert owner.put(path, {"image": {"name": "mine"}}).status_code == 403
    assert context.caller("p").put(path, {"image": {"name": "theirs"}}).status_code == 200


def test_a_user_without_project_registers_nothing(context: Client) -> None:
    """The image would be nobody's."""
    answer = context.caller(None).post("/images", {"image": {"status": "queued"}})

    assert answer.status_code == 403
    assert "needs an identity with a project" in answer.text


@pytest.mark.parametrize("project", ["x" * 256, "x" * 5000])
def test_a_project_whose_id_is_too_long_is_refused(context: Client, project: str) -> None:
    answer = context.caller(project).post("/images", {"image": {"status": "queued"}})

    assert answer.status_code == 400


def test_a_project_s_id_may_be_255_long(context: Client) -> None:
    owner = context.caller("x" * 255)

    assert owner.show(owner.add(is_public=False)["id"])["owner"] == "x" * 255


def test_a_protected_image_changes_but_stays(context: Client) -> None:
    owner, admin = context.caller("o"), context.caller("a", "admin")
    image = owner.add(protected=True)
    path = f"/images/{image['id']}"

    for caller in (owner, admin):
        answer = caller.delete(path)
        assert (answer.status_code, answer.text) == (403, f"Image {image['id']} is protected and cannot be deleted.\n")
    assert owner.put(path, {"image": {"name": "new", "protected": "True"}}).status_code == 200
    assert owner.put(path, {"image": {"protected": "False"}}).status_code == 200

    assert owner.delete(path).status_code == 200


def test_a_deleted_image_is_neither_changed_nor_deleted_again(context: Client) -> None:
    owner, admin = context.caller("o"), context.caller("a", "admin")
    image = owner.add(properties={"a": "1"}, location=A)
    path = f"/images/{image['id']}"
    deleted = owner.delete(path).json()["image"]

    for caller in (owner, admin):
        assert caller.put(path, {"image": {"name": "new", "deleted": False}}).status_code == 404
        assert caller.delete(path).status_code == 404
    assert admin.show(image["id"]) == deleted
    assert deleted["deleted_at"] == deleted["updated_at"] > image["updated_at"]


def test_a_deleted_image_is_shown_to_an_admin_in_queens_alone(database: str) -> None:
    shown = {}
    for contract in ("queens", "cactus"):
        client = Client(make_settings(database, registry__contract=contract))
        image = client.add()
        client.delete(f"/images/{image['id']}")
        shown[contract] = client.get(f"/images/{image['id']}").status_code
        client.close()

    assert shown == {"queens": 200, "cactus": 404}


def test_of_deletions_at_the_same_time_one_counts(queens: Client) -> None:
    image = queens.add()

    answers = queens.at_once([("DELETE", f"/images/{image['id']}", None)] * 8)

    assert sorted(answer.status_code for answer in answers) == [200] + [404] * 7


def test_of_registrations_of_one_id_at_the_same_time_one_counts(queens: Client) -> None:
    body = {"image": {"id": UNKNOWN, "name": "i", "status": "queued"}}

    answers = queens.at_once([("POST", "/images", body)] * 8)

    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    assert queens.get("/images?is_public=None&name=i").json()["images"][0]["id"] == UNKNOWN
