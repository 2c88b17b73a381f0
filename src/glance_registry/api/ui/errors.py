# SPDX-License-Identifier: Apache-2.0
"""What went wrong, as a page."""

from collections.abc import Sequence
from http import HTTPStatus

from glance_registry.api.responses import Answer, Header
from glance_registry.api.ui.render import answer_page


def error_page(
    status: HTTPStatus,
    sentence: str,
    headers: Sequence[Header],
    accept: str,  # noqa: ARG001 - a `RenderError`
) -> Answer:
    """The page for a request that failed."""
    takes_token = any(name == b"www-authenticate" and value.startswith(b"Keystone") for name, value in headers)
    return answer_page("error.html", status, headers, title=status.phrase, sentence=sentence, takes_token=takes_token)
