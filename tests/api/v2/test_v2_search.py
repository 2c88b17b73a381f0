# SPDX-License-Identifier: Apache-2.0
"""`q` of a list: words, within what the caller may see; everything else of the list as usual."""

import pytest
from tests.api.v2.test_v2_lists import names
from tests.conftest import Client


@pytest.fixture
def filled(client: Client) -> Client:
    client.register(name="ubuntu-24.04-amd64", tags=["lts"], os_distro="ubuntu", visibility="public")
    client.register(name="ubuntu-22.04-arm64", os_distro="ubuntu", visibility="public")
    client.register(name="debian 12", tags=["lts"], architecture="amd64", visibility="public")
    return client


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=ubuntu%2024", ["ubuntu-24.04-amd64"]),
        ("q=ubuntu+24", ["ubuntu-24.04-amd64"]),
        ("q=AMD64&sort=name:asc", ["debian 12", "ubuntu-24.04-amd64"]),
        ("q=ubuntu&sort=name:asc", ["ubuntu-22.04-arm64", "ubuntu-24.04-amd64"]),
        ("q=lts&os_distro=ubuntu", ["ubuntu-24.04-amd64"]),
        ("q=ubuntu&name=in:debian%2012,ubuntu-22.04-arm64", ["ubuntu-22.04-arm64"]),
        ("q=lts&tag=lts&limit=1", ["debian 12"]),
        ("q=windows", []),
    ],
)
def test_words_are_searched_among_the_filters(filled: Client, query: str, found: list[str]) -> None:
    assert names(filled, query) == found


def test_a_search_goes_on_page_by_page(filled: Client) -> None:
    first = filled.get("/v2/images?q=ubu&limit=1").json()
    second = filled.get(first["next"]).json()

    assert "q=ubu" in first["next"]
    assert [image["name"] for image in first["images"] + second["images"]] == [
        "ubuntu-22.04-arm64",
        "ubuntu-24.04-amd64",
    ]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("q=", "a letter or a digit"),
        ("q=%22*%22", "a letter or a digit"),
        ("q=a%00b", "NUL"),
        ("q=" + "x" * 101, "at most 100 characters"),
        ("q=" + "+".join(map(str, range(17))), "At most 16 words"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_a_sentence(client: Client, query: str, sentence: str) -> None:
    answer = client.get(f"/v2/images?{query}")

    assert answer.status_code == 400
    assert sentence in answer.text


def test_what_one_dialect_writes_the_search_of_the_other_finds(client: Client) -> None:
    image = client.add(name="natty", properties={"os": "Ünïcode"})
    assert names(client, "q=unicode") == ["natty"]

    client.put(f"/images/{image['id']}", {"image": {"properties": {"os": "ascii"}}})
    assert names(client, "q=unicode") == []
    assert names(client, "q=ascii") == ["natty"]

    client.delete(f"/images/{image['id']}")
    assert names(client, "q=ascii") == []


def test_a_search_shows_nobody_images_of_others(context: Client) -> None:
    mine, theirs = context.caller("mine"), context.caller("theirs")
    mine.register(name="secret plan")

    for caller, found in ((mine, ["secret plan"]), (theirs, [])):
        listed = caller.get("/v2/images?q=secret&visibility=all").json()
        assert [image["name"] for image in listed["images"]] == found
