# SPDX-License-Identifier: Apache-2.0
"""Who looks at the pages where callers have tokens: a browser keeps one in a cookie, which only the pages read."""

import re
from http import HTTPStatus

from glance_registry.api.identity.header import COOKIE
from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, Header
from glance_registry.api.ui.forms import read_form
from glance_registry.api.ui.render import PATH, answer_page, redirect
from glance_registry.api.v2.discovery import endpoint

_SECONDS = 12 * 3600
"""A token of Keystone's is seldom good for longer."""

# RFC 6265, section 4.1.1: cookie-octet. Browsers keep 4096 bytes, with the name.
_KEPT = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{1,4000}")


async def show_sign_in(request: Request) -> Answer:  # noqa: ARG001 - the shape of a handler
    """Asks for a token."""
    return answer_page("sign_in.html", sentence="")


async def sign_in(request: Request) -> Answer:
    """Keeps a token in the browser; whether it is good shows with the first page."""
    token = dict(read_form(await request.read_body(), request.headers.get("content-type", ""))).get("token", "").strip()
    if not _KEPT.fullmatch(token):
        return answer_page("sign_in.html", HTTPStatus.BAD_REQUEST, sentence="This is no token.")
    return redirect(PATH, [_cookie(request, token, _SECONDS)])


async def sign_out(request: Request) -> Answer:
    """Forgets the token; Keystone still knows it."""
    return redirect(f"{PATH}/sign-in", [_cookie(request, "", 0)])


def _cookie(request: Request, token: str, seconds: int) -> Header:
    secure = "; Secure" if endpoint(request).startswith("https:") else ""
    value = f"{COOKIE}={token}; Path={PATH}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
    return (b"set-cookie", value.encode())
