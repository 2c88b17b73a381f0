# SPDX-License-Identifier: Apache-2.0
"""An image's page, and the form that changes it."""

import re
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api.ui.browser import look, page_of, post_form, send
from tests.conftest import Client, Verbs
from tests.speeds import scaled

from glance_registry.model.visible import printable

EMPTY = "tag=&name=&visibility=private&before=" + quote(
    '{"name":"","visibility":"","protected":false,"os_hidden":false,"tags":[],"properties":{}}'
)
PLACE = "https://images.example/it's.qcow2"


def edit(client: Verbs, image_id: str, **entered: Any) -> Any:
    """Send an image's form with these values."""
    path = f"/ui/images/{image_id}/edit"
    return post_form(client, path, look(client, path).sent(**entered))


def test_the_page_tells_everything(client: Client) -> None:
    image = client.add(
        name="jammy",
        size=417_498_769,
        checksum="d" * 32,
        min_ram=512,
        location=PLACE,
        properties={"os_distro": "ubuntu"},
    )
    client.put(f"/v2/images/{image['id']}/tags/lts")

    page = look(client, f"/ui/images/{image['id']}")

    for part in (
        image["id"],
        "398 MiB (417,498,769 bytes)",
        "d" * 32,
        "Needs memory 512 MiB",
        "raw",
        "os_distro ubuntu",
    ):
        assert part in page.text
    assert page.links["lts"] == "/ui?tag=lts"
    assert page.links[PLACE] == PLACE
    assert page.links["Edit"] == f"/ui/images/{image['id']}/edit"
    assert f"openstack server create --image {image['id']}" in page.text
    assert """curl -fLO 'https://images.example/it'"'"'s.qcow2'""" in page.text
    assert f"http://registry.test/v2/images/{image['id']}" in page.text


def test_where_the_bytes_lie_is_told_to_whom_the_images_api_tells_it(context: Client) -> None:
    admin, anna = context.caller("ops", roles="admin"), context.caller("anna")
    image_id = admin.add(name="public", location=PLACE)["id"]

    assert PLACE in look(admin, f"/ui/images/{image_id}").text
    for caller in (anna, context):
        page = look(caller, f"/ui/images/{image_id}")
        assert "images.example" not in page.text
        assert "Edit" not in page.links


def test_a_place_that_is_no_web_page_is_no_link(client: Client) -> None:
    image_id = client.add(location="rbd://a/b/c/d")["id"]

    page = look(client, f"/ui/images/{image_id}")

    assert "rbd://a/b/c/d" in page.text
    assert "rbd://a/b/c/d" not in page.links


def test_members_are_shown_to_the_owner_and_a_member_sees_itself(context: Client) -> None:
    anna = context.caller("anna")
    image_id = anna.register(visibility="shared")["id"]
    for member in ("ben", "cleo"):
        assert anna.post(f"/v2/images/{image_id}/members", {"member": member}).status_code == 200

    assert {"ben", "cleo", "pending"} <= set(look(anna, f"/ui/images/{image_id}").cells)
    cells = set(look(context.caller("ben"), f"/ui/images/{image_id}").cells)
    assert "ben" in cells
    assert "cleo" not in cells


def test_who_does_not_see_an_image_is_told_that_there_is_none(context: Client) -> None:
    image_id = context.caller("anna").register(visibility="private")["id"]
    ben = context.caller("ben")

    for path in (f"/ui/images/{image_id}", f"/ui/images/{image_id}/edit", "/ui/images/none", "/ui/nothing"):
        assert look(ben, path, 404).links["To the images"] == "/ui"
    assert post_form(ben, f"/ui/images/{image_id}/edit", f"{EMPTY}&tags=").status_code == 404


def test_all_that_can_be_entered_is_kept(client: Client) -> None:
    image = client.register(name="old", tags=["a", "b"], one="1", two="2")
    entered = look(client, f"/ui/images/{image['id']}/edit").fields
    changes = {"name": "new", "visibility": "private", "tags": "b\nc d\n\n"}
    pairs = [(name, changes.get(name, value)) for name, value in entered]
    pairs[pairs.index(("value", "1"))] = ("value", "first\nsecond")
    pairs[pairs.index(("property", ""))] = ("property", "three")
    pairs[pairs.index(("value", ""))] = ("value", "3")
    pairs += [("remove", "two"), ("protected", "on"), ("os_hidden", "on")]

    answer = post_form(client, f"/ui/images/{image['id']}/edit", send(pairs))

    assert (answer.status_code, answer.headers["location"]) == (303, f"/ui/images/{image['id']}")
    changed = client.get(f"/v2/images/{image['id']}").json()
    assert changed == {
        **{name: value for name, value in image.items() if name != "two"},
        "name": "new",
        "visibility": "private",
        "tags": ["b", "c d"],
        "protected": True,
        "os_hidden": True,
        "one": "first\nsecond",
        "three": "3",
        "updated_at": changed["updated_at"],
    }


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
names = texts.filter(lambda name: name.strip() == name != "")


@given(name=st.none() | texts, tags=st.lists(names), properties=st.dictionaries(names, texts, max_size=4))
@settings(max_examples=scaled(60))
def test_a_form_that_is_not_touched_changes_nothing(
    sqlite_client: Client, name: str | None, tags: list[str], properties: dict[str, str]
) -> None:
    """Whatever a browser does to line breaks."""
    own = {f"p-{key}": value for key, value in properties.items()}
    image = sqlite_client.register(name=name, tags=tags, **own)

    answer = edit(sqlite_client, image["id"])

    assert answer.status_code == 303, page_of(answer, answer.status_code).text
    assert sqlite_client.get(f"/v2/images/{image['id']}").json() == image


def test_what_somebody_else_changed_meanwhile_is_not_overwritten(client: Client) -> None:
    image_id = client.register(name="old")["id"]
    path = f"/ui/images/{image_id}/edit"
    form = look(client, path)
    client.patch(image_id, {"op": "replace", "path": "/name", "value": "theirs"})

    page = page_of(post_form(client, path, form.sent(name="ours")), 412)

    assert "was changed since" in page.text
    assert "Nothing was saved." in page.text
    assert "Name you changed it, too old theirs" in page.text
    assert ("name", "ours") in page.fields
    assert client.get(f"/v2/images/{image_id}").json()["name"] == "theirs"
    assert post_form(client, path, page.sent()).status_code == 303
    assert client.get(f"/v2/images/{image_id}").json()["name"] == "ours"


def test_after_a_conflict_what_both_changed_is_saved_together(client: Client) -> None:
    before = {"one": "1", "two": "2", "three": "3", "four": "4\r\n4", "five": "5"}
    image_id = client.register(name="old", tags=["a", "b", "c"], visibility="private", **before)["id"]
    path = f"/ui/images/{image_id}/edit"
    pairs = look(client, path).fields
    entered = {"tags": "b\nc\nmine"}
    pairs = [(name, entered.get(name, value)) for name, value in pairs]
    for old, new in (("1", "mine"), ("5", "mine, too")):
        pairs[pairs.index(("value", old))] = ("value", new)
    pairs[pairs.index(("property", ""))] = ("property", "new")
    pairs[pairs.index(("value", ""))] = ("value", "mine")
    pairs += [("remove", "two"), ("protected", "on")]
    assert client.patch(
        image_id,
        {"op": "replace", "path": "/name", "value": "theirs"},
        {"op": "replace", "path": "/tags", "value": ["a", "b", "theirs"]},
        {"op": "replace", "path": "/three", "value": "theirs"},
        {"op": "add", "path": "/six", "value": "theirs"},
        {"op": "replace", "path": "/one", "value": "theirs"},
        {"op": "remove", "path": "/five"},
    ).is_success

    page = page_of(post_form(client, path, send(pairs)), 412)
    saved = post_form(client, path, page.sent())

    for change in ("Name old theirs", "three 3 theirs", "six theirs", "one you changed it, too 1 theirs", "five you"):
        assert change in page.text
    assert "four" not in page.text.partition("Is now")[2].partition("Name")[0]
    assert saved.status_code == 303
    changed = client.get(f"/v2/images/{image_id}").json()
    assert (changed["name"], changed["protected"], changed["visibility"]) == ("theirs", True, "private")
    assert changed["tags"] == ["b", "mine", "theirs"]
    own = {name: changed.get(name) for name in (*before, "six", "new")}
    assert own == {
        "one": "mine",
        "two": None,
        "three": "theirs",
        "four": "4\r\n4",
        "five": "mine, too",
        "six": "theirs",
        "new": "mine",
    }


def test_a_second_conflict_is_told_like_the_first(sqlite_client: Client) -> None:
    image_id = sqlite_client.register(name="old")["id"]
    path = f"/ui/images/{image_id}/edit"
    page = look(sqlite_client, path)
    form = page.sent(name="mine")
    for name in ("theirs", "theirs again"):
        sqlite_client.patch(image_id, {"op": "replace", "path": "/name", "value": name})
        page = page_of(post_form(sqlite_client, path, form), 412)
        form = page.sent()

    assert "you changed it, too theirs theirs again" in page.text
    assert post_form(sqlite_client, path, form).status_code == 303
    assert sqlite_client.get(f"/v2/images/{image_id}").json()["name"] == "mine"


@pytest.mark.parametrize("mark", ["\u202e", "\u200b", "\u2066", "\ufeff", "\u00ad"])
def test_what_cannot_be_seen_is_shown_as_the_command_line_does(sqlite_client: Client, mark: str) -> None:
    """Wherever a page shows text of a client. In the fields of forms it stays as it is, and is shown beneath."""

    def sign(what: str) -> str:
        return f"{what}{mark}x"

    def seen_as(what: str) -> str:
        return f'{what}<span class="mark">{printable(mark)}</span>x'

    image = sqlite_client.add(
        name=sign("name"),
        owner=sign("owner"),
        checksum=sign("checksum"),
        location=f"https://x.test/{sign('location')}",
        is_public=False,
        properties={sign("key"): sign("value"), "os_distro": sign("distro"), "os_version": sign("version")},
    )
    path = f"/ui/images/{image['id']}"
    assert sqlite_client.put(f"/v2/images/{image['id']}/tags/{quote(sign('tag'))}").status_code == 204
    assert sqlite_client.put(f"/images/{image['id']}/members/{quote(sign('member'))}").status_code == 204
    detail = ["name", "owner", "checksum", "location", "key", "value", "distro", "version", "tag", "member"]

    for page, shown in (
        ("/ui?visibility=all", ["name", "distro", "version", "tag"]),
        (path, detail),
        (f"{path}/edit", ["name", "key", "value", "distro", "version", "tag"]),
    ):
        html = sqlite_client.get(page).text
        seen = re.sub(r"<(input|a|option)[^>]*>|<textarea.*?</textarea>", "", html, flags=re.DOTALL)
        assert mark not in seen, page
        assert [what for what in shown if seen_as(what) not in seen] == [], page
        assert page.startswith("/ui?") or f"{printable(sign('name'))} ·" in html  # The title.
    assert edit(sqlite_client, image["id"], visibility="private").status_code == 303
    assert sqlite_client.show(image["id"])["properties"][sign("key")] == sign("value")


def test_lines_of_a_value_stay_lines(sqlite_client: Client) -> None:
    image_id = sqlite_client.register(name="a\nb", note="first\n\tsecond")["id"]

    html = sqlite_client.get(f"/ui/images/{image_id}").text

    assert "first\n\tsecond</bdi>" in html
    assert 'a<span class="mark">\\n</span>b' in html


def test_an_id_does_not_look_like_a_name(sqlite_client: Client) -> None:
    unnamed = sqlite_client.register()
    sqlite_client.patch(unnamed["id"], {"op": "replace", "path": "/name", "value": None})
    named, blank = sqlite_client.register(name=unnamed["id"]), sqlite_client.register(name="  ")

    html = sqlite_client.get("/ui?visibility=all").text

    assert html.count(f'<code class="unnamed">{unnamed["id"]}</code>') == 1
    assert f'/ui/images/{named["id"]}"><bdi>{unnamed["id"]}</bdi>' in html
    assert f'<span class="mark">only spaces</span> <code class="unnamed">{blank["id"]}</code>' in html


def test_only_in_mode_none_everybody_is_an_admin(sqlite_client: Client, sqlite_context: Client) -> None:
    assert "everybody is an admin here" in look(sqlite_client, "/ui").text

    for user in ("root", None):
        page = look(sqlite_context.caller(None, roles="admin", user=user), "/ui")
        assert "admin, without a project" in page.text
        assert "everybody" not in page.text


@pytest.mark.parametrize(("query", "to"), [("", "/ui"), ("?q=a%20b", "/ui?q=a%20b")])
def test_the_path_with_a_slash_leads_to_the_list(sqlite_client: Client, query: str, to: str) -> None:
    answer = sqlite_client.get(f"/ui/{query}")

    assert (answer.status_code, answer.headers["location"]) == (303, to)


@pytest.mark.parametrize(
    ("property_name", "status", "sentence"),
    [
        ("min_ram", 400, "'min_ram' is no property: every image has it."),
        ("checksum", 403, "Attribute 'checksum' is read-only."),
        ("location", 403, "Attribute 'location' is reserved."),
        ("one", 400, "Property 'one' was entered twice."),
        ("n" * 256, 400, "A property's name must have 1 to 255 characters."),
        ("", 400, "A property needs a name."),
    ],
)
def test_what_cannot_be_is_said_above_the_form(client: Client, property_name: str, status: int, sentence: str) -> None:
    image = client.register(one="1")
    pairs = look(client, f"/ui/images/{image['id']}/edit").fields
    pairs[pairs.index(("value", "1"))] = ("value", "other")
    pairs[pairs.index(("property", ""))] = ("property", property_name)
    pairs[pairs.index(("value", ""))] = ("value", "x")

    page = page_of(post_form(client, f"/ui/images/{image['id']}/edit", send(pairs)), status)

    assert f"{sentence} Nothing was saved." in page.text
    assert ("value", "other") in page.fields
    assert client.get(f"/v2/images/{image['id']}").json() == image


@pytest.mark.parametrize(
    "body",
    [
        "",
        "name=x",
        f"{EMPTY}&tags=&property=a",
        EMPTY,
        f"{EMPTY}&tags=&before=x",
        f"{EMPTY}&tags=&before=[]",
        "%ff=%fe",
        "a=b&" * 1001,
        "name=%00",
        "é",
    ],
)
def test_a_form_that_is_not_ours_is_400(sqlite_client: Client, body: str) -> None:
    image = sqlite_client.register(name="x")

    assert post_form(sqlite_client, f"/ui/images/{image['id']}/edit", body).status_code == 400
    assert sqlite_client.post(f"/ui/images/{image['id']}/edit", {}).status_code == 415
    assert sqlite_client.get(f"/v2/images/{image['id']}").json() == image


def test_only_who_may_change_an_image_gets_its_form_and_only_admins_publish(context: Client) -> None:
    anna, ben = context.caller("anna"), context.caller("ben")
    image_id = anna.register(visibility="community")["id"]

    assert edit(anna, image_id, name="mine").status_code == 303
    offered = [given["value"] for tag, given in look(anna, f"/ui/images/{image_id}/edit").tags if tag == "option"]
    assert offered == ["community", "shared", "private"]
    page = page_of(edit(anna, image_id, visibility="public"), 403)
    assert "You are not permitted to make an image public." in page.text
    assert "Edit" not in look(ben, f"/ui/images/{image_id}").links
    for caller in (ben, context):
        look(caller, f"/ui/images/{image_id}/edit", 403)
    form = look(anna, f"/ui/images/{image_id}/edit").sent(name="stolen")
    assert post_form(ben, f"/ui/images/{image_id}/edit", form).status_code == 403
    assert anna.get(f"/v2/images/{image_id}").json()["name"] == "mine"
