# SPDX-License-Identifier: Apache-2.0
"""The form of lists in the Images API: pages, links, parameters and what is wrong with them."""

import pytest
from tests.conftest import Client


def names(client: Client, query: str) -> list[str]:
    answer = client.get(f"/v2/images?{query}")
    assert answer.status_code == 200, answer.text
    return [image["name"] for image in answer.json()["images"]]


def test_a_list_goes_on_page_by_page(client: Client) -> None:
    for number in range(5):
        client.register(name=f"i{number}", tags=["a b"])

    first = client.get("/v2/images?limit=2&tag=a%20b&sort=name:asc&os_hidden=False").json()
    second = client.get(first["next"]).json()
    third = client.get(second["next"]).json()

    assert [[image["name"] for image in page["images"]] for page in (first, second, third)] == [
        ["i0", "i1"],
        ["i2", "i3"],
        ["i4"],
    ]
    assert first["first"] == second["first"] == "/v2/images?limit=2&tag=a+b&sort=name%3Aasc&os_hidden=False"
    assert first["schema"] == "/v2/schemas/images"
    assert "next" not in third


def test_an_empty_page_leads_nowhere(client: Client) -> None:
    client.register()

    answer = client.get("/v2/images?limit=0").json()

    assert (answer["images"], "next" in answer) == ([], False)


def test_the_last_page_when_it_is_full_leads_to_an_empty_one(client: Client) -> None:
    client.register()

    page = client.get("/v2/images?limit=1").json()

    assert client.get(page["next"]).json()["images"] == []


def test_a_page_is_no_larger_than_the_setting(client: Client) -> None:
    for _ in range(26):
        client.register()

    assert len(client.get("/v2/images").json()["images"]) == 25
    assert len(client.get("/v2/images?limit=9999").json()["images"]) == 26


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1",
        "limit=x",
        "limit=",
        "marker=none",
        "sort_key=owner",
        "sort_key=name&sort_key=name",
        "sort_dir=up",
        "sort_key=name&sort_dir=asc&sort_dir=desc",
        "sort_key=name&sort_key=size&sort_key=id&sort_dir=asc&sort_dir=desc",
        "sort=name:up",
        "sort=name,",
        "sort=name:asc&sort_key=size",
        "visibility=mine",
        "visibility=",
        "member_status=maybe",
        "os_hidden=perhaps",
        "protected=perhaps",
        "size_min=x",
        "size_max=-1",
        "min_ram=1.5",
        "size=99999999999999999999",
        "created_at=gt:yesterday",
        "created_at=in:2026-11-23",
        "updated_at=x",
        "name=gt:a",
        "status=neq:active",
        "name=in:a%22b",
        "name=in:%22a",
        "changes-since=2026-11-23",
        "name=%00",
        "p=%FF",
        "&".join(f"p{number}=x" for number in range(65)),
    ],
)
def test_a_list_that_cannot_be_asked_for_is_400_with_a_sentence(client: Client, query: str) -> None:
    answer = client.get(f"/v2/images?{query}")

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"].endswith(".")


def test_a_filter_finds_by_any_attribute(client: Client) -> None:
    for name, more in {
        "a": {"os_distro": "debian", "min_ram": 64},
        "b,c": {"os_distro": "ubuntu", "protected": True, "tags": ["x", "y"]},
        "debian:12": {"os_distro": "debian", "visibility": "community", "tags": ["x"]},
    }.items():
        client.register(name=name, **more)

    for query, found in {
        "os_distro=debian": ["a"],
        "os_distro=debian&min_ram=64": ["a"],
        "min_ram=64&protected=false": ["a"],
        "protected=True": ["b,c"],
        "tag=x": ["b,c"],
        "tag=x&tag=y": ["b,c"],
        "tag=x&tag=z": [],
        "visibility=all&tag=x&sort=name:asc": ["b,c", "debian:12"],
        "visibility=community&name=debian:12": ["debian:12"],
        'name=in:a,"b,c"&sort=name:desc': ["b,c", "a"],
        "name=eq:a": ["a"],
        "name=in:none": [],
        "name=in:": [],
        "none=x": [],
        "created_at=gt:2011-01-01T00:00:00Z&sort_key=name&sort_dir=asc": ["a", "b,c"],
        "created_at=2011-01-01T00:00:00Z": [],
        "updated_at=lt:2011-01-01T00:00:00%2B01:00": [],
        "sort_key=name&sort_key=created_at&sort_dir=asc&sort_dir=desc": ["a", "b,c"],
    }.items():
        assert names(client, query) == found, query


def test_hidden_images_are_in_no_list_that_does_not_ask_for_them(client: Client) -> None:
    image = client.register(name="old", os_hidden=True, visibility="public")
    client.register(name="new", visibility="public")

    assert names(client, "") == ["new"]
    assert names(client, "os_hidden=True") == names(client, "os_hidden=true&sort=name:asc") == ["old"]
    assert client.get(image["self"]).status_code == 200
    assert client.names() == ["new", "old"]  # The Registry API knows of no hidden images.


def test_an_anonymous_caller_sees_public_images_only(context: Client) -> None:
    """In lists and by id. A user without a project sees community images, too."""
    admin, user = context.caller("a", "admin"), context.caller(None, "member")
    paths = {}
    for visibility in ("public", "community", "shared", "private"):
        paths[visibility] = admin.register(name=visibility, visibility=visibility)["self"]

    for query in ("", "visibility=public", "visibility=all", "q=public&visibility=all", "owner=a&visibility=all"):
        assert names(context, query) == ["public"], query
    for hidden in ("community", "shared", "private"):
        assert names(context, f"visibility={hidden}") == names(context, f"visibility={hidden}&name={hidden}") == []
        assert context.get(paths[hidden]).status_code == 404
        marker = paths[hidden].rpartition("/")[2]
        assert context.get(f"/v2/images?visibility=all&marker={marker}").status_code == 400
    assert context.get(paths["public"]).status_code == 200

    assert names(user, "") == ["public"]
    assert names(user, "visibility=community") == ["community"]
    assert names(user, "visibility=all") == ["community", "public"]
    assert user.get(paths["community"]).status_code == 200
    assert [user.get(paths[hidden]).status_code for hidden in ("shared", "private")] == [404, 404]
