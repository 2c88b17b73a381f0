# SPDX-License-Identifier: Apache-2.0
"""What went wrong, as a page."""

from http import HTTPStatus

from glance_registry.api.errors import failure_sentence, status_of, with_headers
from glance_registry.api.responses import Answer
from glance_registry.api.ui.render import answer_page
from glance_registry.model.errors import RegistryError, Unauthorized


def error_page(error: RegistryError) -> Answer:
    """The page for a request that failed."""
    takes_token = isinstance(error, Unauthorized) and error.challenge.startswith("Keystone")
    return with_headers(error, _page(status_of(error), str(error), takes_token=takes_token))


def failure_page(request_id: str) -> Answer:
    """The page when the fault is ours."""
    return _page(HTTPStatus.INTERNAL_SERVER_ERROR, failure_sentence(request_id))


def _page(status: HTTPStatus, sentence: str, *, takes_token: bool = False) -> Answer:
    return answer_page("error.html", status, title=status.phrase, sentence=sentence, takes_token=takes_token)
