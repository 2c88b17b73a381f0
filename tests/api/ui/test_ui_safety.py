# SPDX-License-Identifier: Apache-2.0
"""What keeps the pages, and everybody whose browser is let in here, from other sites' pages."""

import re
from pathlib import Path

import pytest
from tests.api.ui.browser import look, page_of, post_form
from tests.conftest import Client
from tests.options import make_settings

from glance_registry.api.ui import render

TEMPLATES = sorted((render.FOLDER / "templates").glob("*.html"))


@pytest.mark.parametrize("path", ["/ui", "/ui/images/{id}", "/ui/images/{id}/edit", "/ui/sign-in", "/ui/none"])
def test_every_page_forbids_what_it_does_not_need(sqlite_client: Client, path: str) -> None:
    image_id = sqlite_client.register(name="x")["id"]

    headers = sqlite_client.get(path.format(id=image_id)).headers

    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["form-action"] == policy["style-src"] == "'self'"
    assert "script-src" not in policy
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_no_template_needs_more_than_the_policy_allows(template: Path) -> None:
    text = template.read_text()

    assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=|javascript:|\|\s*safe", text)


def test_the_looks_are_kept_by_their_content(sqlite_client: Client) -> None:
    style = next(
        given["href"] or "" for tag, given in look(sqlite_client, "/ui").tags if given.get("rel") == "stylesheet"
    )

    answer = sqlite_client.get(style)

    assert re.fullmatch(r"/ui/style\.css\?[0-9a-f]{12}", style)
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert sqlite_client.get("/ui/icon.svg").headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 204),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://elsewhere.test"}, 204),
        ({"Sec-Fetch-Site": "none"}, 204),
        ({"Origin": "http://registry.test"}, 204),
        ({"Origin": "https://REGISTRY.test"}, 204),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://elsewhere.test"}, 403),
        ({"Origin": "http://registry.test:8080"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[broken"}, 403),
    ],
)
def test_pages_of_other_sites_change_nothing(sqlite_client: Client, headers: dict[str, str], status: int) -> None:
    image_id = sqlite_client.register(name="x")["id"]

    assert sqlite_client.request("PUT", f"/v2/images/{image_id}/tags/x", headers=headers).status_code == status
    assert sqlite_client.get(f"/v2/images/{image_id}", headers=headers).json()["tags"] == ["x"] * (status == 204)


def test_a_form_of_another_site_is_refused_with_a_page(sqlite_client: Client) -> None:
    path = f"/ui/images/{sqlite_client.register(name='x')['id']}/edit"
    form = look(sqlite_client, path).sent(name="y")

    page = page_of(post_form(sqlite_client, path, form, Origin="http://elsewhere.test"), 403)

    assert "A page of another site may not change anything here." in page.text


def test_pages_can_be_turned_off(sqlite_database: str) -> None:
    client = Client(make_settings(sqlite_database, api__pages=False))
    try:
        assert client.get("/ui").status_code == 404
        assert client.get("/v2/images").status_code == 200
    finally:
        client.close()


def test_a_fault_of_ours_is_a_page_without_its_cause(sqlite_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glance_registry.api.ui.pages.read_listing", lambda *_: 1 / 0)

    page = look(sqlite_client, "/ui", 500)

    assert "its log has the cause under req-" in page.text
    assert "ZeroDivision" not in page.text


def test_a_cookie_is_sent_only_to_pages_and_read_by_no_script(sqlite_client: Client) -> None:
    answer = post_form(sqlite_client, "/ui/sign-in", "token=gAAAA-b_c%3D", **{"X-Forwarded-Proto": "https"})

    assert (answer.status_code, answer.headers["location"]) == (303, "/ui")
    name, *rest = answer.headers["set-cookie"].split("; ")
    assert name == "glance-registry-token=gAAAA-b_c="
    assert rest == ["Path=/ui", "Max-Age=43200", "HttpOnly", "SameSite=Lax", "Secure"]
    assert "Secure" not in post_form(sqlite_client, "/ui/sign-in", "token=x").headers["set-cookie"]
    assert "Max-Age=0" in post_form(sqlite_client, "/ui/sign-out", "").headers["set-cookie"]


@pytest.mark.parametrize("token", ["", "a%3B+Path%3D%2F", "a%22b", "%C3%A9", "x" * 4001, "a%0D%0Ab"])
def test_what_no_cookie_can_hold_is_no_token(sqlite_client: Client, token: str) -> None:
    answer = post_form(sqlite_client, "/ui/sign-in", f"token={token}")

    assert "This is no token." in page_of(answer, 400).text
    assert "set-cookie" not in answer.headers
