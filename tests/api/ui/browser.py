# SPDX-License-Identifier: Apache-2.0
"""What a browser makes of a page: its text, its links, its forms, and what a form sends."""

from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import httpx
from tests.conftest import Verbs

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Page(HTMLParser):
    """A page as parsed. `fields` are (name, value) of all that its last form would send, in their order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: dict[str, str] = {}
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.fields: list[tuple[str, str]] = []
        self.cells: list[str] = []
        self._text: list[str] = []
        self._open: dict[str, int] = {}
        self._link = self._area = self._select = ""
        self.feed(html)
        self.text = " ".join("".join(self._text).split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.tags.append((tag, given))
        self._open[tag] = len(self._text)
        if tag == "form":
            self.fields = []
        elif tag == "a":
            self._link = given.get("href") or ""
        elif tag == "textarea":
            self._area = given["name"] or ""
        elif tag == "select":
            self._select = given["name"] or ""
            self.fields.append((self._select, ""))
        elif tag == "option" and "selected" in given:
            self.fields[-1] = (self._select, given["value"] or "")
        elif tag == "input" and given.get("name") and (given.get("type") != "checkbox" or "checked" in given):
            nothing = "on" if given.get("type") == "checkbox" else ""
            value = given.get("value") or nothing
            # HTML, value sanitization: a field with one line keeps no line breaks.
            kept = value if given.get("type") else value.replace("\r", "").replace("\n", "")
            self.fields.append((given["name"] or "", kept))

    def handle_endtag(self, tag: str) -> None:
        inside = "".join(self._text[self._open.get(tag, 0) :])
        if tag == "a":
            self.links[" ".join(inside.split())] = self._link
        elif tag in ("td", "th"):
            self.cells.append(" ".join(inside.split()))
        elif tag == "textarea":
            # HTML: the first line break after the tag is none of the text.
            self.fields.append((self._area, inside.removeprefix("\n")))

    def handle_data(self, data: str) -> None:
        self._text.append(data)

    def sent(self, **entered: Any) -> str:
        """The form's body with other values in these fields; None leaves one out."""
        pairs = [(name, entered.get(name, value)) for name, value in self.fields]
        pairs += [(name, value) for name, value in entered.items() if name not in dict(self.fields)]
        return send([(name, value) for name, value in pairs if value is not None])


def send(pairs: list[tuple[str, str]]) -> str:
    """As browsers write a form: a line ends with CR and LF, whatever it ended with."""
    return urlencode([(_as_sent(name), _as_sent(value)) for name, value in pairs])


def _as_sent(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")


def look(client: Verbs, path: str, status: int = 200) -> Page:
    """A page. Fails when the answer is none."""
    return page_of(client.get(path), status)


def page_of(answer: httpx.Response, status: int = 200) -> Page:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return Page(answer.text)


def post_form(client: Verbs, path: str, body: str, **headers: str) -> httpx.Response:
    return client.request("POST", path, content=body, headers={**FORM, **headers})
