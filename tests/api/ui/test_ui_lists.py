# SPDX-License-Identifier: Apache-2.0
"""The page with the list: searched, filtered, sorted, page by page, within what the caller may see."""

import pytest
from tests.api.ui.browser import Page, look
from tests.conftest import Client, Verbs


def names(client: Verbs, query: str = "") -> list[str]:
    """The names in the table."""
    page = look(client, f"/ui?{query}")
    return [text for text, link in page.links.items() if link.startswith("/ui/images/")]


@pytest.fixture
def filled(client: Client) -> Client:
    client.register(name="ubuntu 24.04", tags=["lts"], os_distro="ubuntu", visibility="public", min_ram=512)
    client.register(name="debian 12", os_distro="debian", visibility="public", disk_format="qcow2")
    client.register(name="hidden one", os_hidden=True, visibility="public")
    return client


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["debian 12", "ubuntu 24.04"]),
        ("q=ubu+24", ["ubuntu 24.04"]),
        ("q=windows", []),
        ("sort=name:desc", ["ubuntu 24.04", "debian 12"]),
        ("tag=lts", ["ubuntu 24.04"]),
        ("property=os_distro%3Ddebian", ["debian 12"]),
        ("disk_format=qcow2&q=&name=&visibility=", ["debian 12"]),
        ("os_hidden=true", ["hidden one"]),
        ("limit=1", ["debian 12"]),
    ],
)
def test_it_shows_what_is_asked_for(filled: Client, query: str, found: list[str]) -> None:
    assert names(filled, query) == found


def test_pages_follow_each_other_and_lead_back(filled: Client) -> None:
    first = look(filled, "/ui?limit=1&sort=name:asc")
    second = look(filled, first.links["Next page"])
    third = look(filled, second.links["Next page"])

    assert "debian 12" in first.links
    assert "ubuntu 24.04" in second.links
    assert "Next page" not in third.links
    assert "First page" not in first.links
    assert look(filled, second.links["First page"]).text == first.text


def test_the_form_keeps_what_was_asked_for(filled: Client) -> None:
    page = look(filled, "/ui?q=lts&property=os_distro%3Dubuntu&visibility=public&sort=name:asc")

    assert {pair for pair in page.fields if pair[1]} == {
        ("q", "lts"),
        ("property", "os_distro=ubuntu"),
        ("visibility", "public"),
        ("sort", "name:asc"),
    }
    assert ("details", {"open": None}) in page.tags
    assert ("details", {}) in look(filled, "/ui?q=lts").tags


def test_a_column_sorts_and_then_turns_around(filled: Client) -> None:
    page = look(filled, "/ui?q=12")
    assert page.links["Name"] == "/ui?q=12&sort=name%3Aasc"
    assert page.links["Size"] == "/ui?q=12&sort=size%3Adesc"

    page = look(filled, page.links["Name"])
    assert ("th", {"scope": "col", "aria-sort": "ascending"}) in page.tags
    assert page.links["Name ▲"] == "/ui?q=12&sort=name%3Adesc"


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("limit=many", "Parameter 'limit' must be a whole number"),
        ("property=os_distro", "A property must be given as in os_distro=ubuntu."),
        ("sort=beauty", "Parameter 'sort_key' must be one of"),
        ("q=%2D%2D", "a letter or a digit"),
    ],
)
def test_what_cannot_be_asked_for_is_a_page_with_a_sentence(sqlite_client: Client, query: str, sentence: str) -> None:
    page = look(sqlite_client, f"/ui?{query}", 400)

    assert sentence in page.text
    assert page.links["To the images"] == "/ui"


def test_everybody_sees_only_what_the_images_api_lists(context: Client) -> None:
    anna, ben = context.caller("anna"), context.caller("ben")
    context.caller("ops", roles="admin").register(name="for all", visibility="public")
    anna.register(name="anna's", visibility="private")
    ben.register(name="ben's", visibility="shared")

    assert names(anna) == ["anna's", "for all"]
    assert names(ben) == ["ben's", "for all"]
    assert names(context) == ["for all"]
    assert names(anna, "visibility=private") == ["anna's"]


def test_without_images_it_says_how_to_register_one(sqlite_client: Client) -> None:
    assert "openstack image create" in look(sqlite_client, "/ui").text
    assert "No image is like that." in look(sqlite_client, "/ui?q=x").text


def test_sizes_and_times_are_for_people(sqlite_client: Client) -> None:
    for size in (0, 1023, 1024, 417_498_769, 3 * 2**40, 1_023_999_999, None):
        sqlite_client.add(name=str(size), size=size)

    cells = look(sqlite_client, "/ui?sort=size:asc").cells
    shown = dict(zip(cells[7::7], cells[12::7], strict=True))

    assert shown == {
        "None": "",
        "0": "0 bytes",
        "1023": "1023 bytes",
        "1024": "1 KiB",
        "417498769": "398 MiB",
        "1023999999": "977 MiB",
        str(3 * 2**40): "3 TiB",
    }


def test_head_is_answered_too(sqlite_client: Client) -> None:
    answer = sqlite_client.request("HEAD", "/ui")

    assert (answer.status_code, answer.content) == (200, b"")


def test_names_are_text_and_nothing_else(sqlite_client: Client) -> None:
    sqlite_client.register(name="<script>alert(1)</script>", tags=['"><b>'], os_distro="<i>")

    answer = sqlite_client.get("/ui")

    assert "<script" not in answer.text
    assert {"b", "i"} & {tag for tag, _ in Page(answer.text).tags} == set()
    assert "<script>alert(1)</script>" in Page(answer.text).links
