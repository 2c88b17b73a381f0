# SPDX-License-Identifier: Apache-2.0
"""Error class to HTTP status and headers, and the usual bodies of errors."""

from collections.abc import Sequence
from http import HTTPStatus

from glance_registry.api.responses import Answer, Header, json_answer, text_answer
from glance_registry.model.errors import (
    Conflict,
    Forbidden,
    FormatRefused,
    Gone,
    Invalid,
    NotFound,
    PreconditionFailed,
    RegistryError,
    StorageFull,
    TooLarge,
    Unauthorized,
    Unavailable,
    UploadBusy,
    WrongOffset,
)


class MethodNotAllowed(RegistryError):
    """The path is there, the method is not; `allowed` are the methods that are."""

    code = "method-not-allowed"

    def __init__(self, method: str, allowed: list[str]) -> None:
        super().__init__(f"Method {method} is not allowed here; allowed: {', '.join(allowed)}.")
        self.allowed = allowed


class RequestTimeout(RegistryError):
    """The request was not complete within the time that a setting allows; its connection is closed."""

    code = "request-timeout"


class ClientGone(RegistryError):
    """The client closed its connection before the answer; nobody reads this one."""

    code = "client-gone"

    def __init__(self) -> None:
        super().__init__("The client closed the connection.")


class UnsupportedType(RegistryError):
    """The body's Content-Type is not supported; `accepted` are those that are."""

    code = "unsupported-type"

    def __init__(self, sentence: str, accepted: tuple[str, ...]) -> None:
        super().__init__(sentence)
        self.accepted = accepted


class Misdirected(RegistryError):
    """The request's Host is not one of the names under which the registry is served."""

    code = "misdirected"


class TooManyAttempts(RegistryError):
    """Too many wrong passwords, or too many at once, from this address; `seconds` says when to try again."""

    code = "too-many-attempts"

    def __init__(self, sentence: str, seconds: int) -> None:
        super().__init__(sentence)
        self.seconds = seconds


class RangeNotSatisfiable(RegistryError):
    """The Range header names no bytes of the image; `size` is how many it has."""

    code = "range-not-satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"The Range header must name bytes of the image, which has {size}.")
        self.size = size


STATUSES: dict[type[RegistryError], HTTPStatus] = {
    Invalid: HTTPStatus.BAD_REQUEST,
    Unauthorized: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    MethodNotAllowed: HTTPStatus.METHOD_NOT_ALLOWED,
    RequestTimeout: HTTPStatus.REQUEST_TIMEOUT,
    ClientGone: HTTPStatus.BAD_REQUEST,
    Conflict: HTTPStatus.CONFLICT,
    PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    UnsupportedType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Misdirected: HTTPStatus.MISDIRECTED_REQUEST,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Gone: HTTPStatus.GONE,
    FormatRefused: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    RangeNotSatisfiable: HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    TooManyAttempts: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
}

RETRY_AFTER_SECONDS = 1


def status_of(error: RegistryError) -> HTTPStatus:
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def error_headers(error: RegistryError) -> list[Header]:
    """The headers of an error, the same for every dialect."""
    headers: list[Header] = []
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    if isinstance(error, UnsupportedType) and error.accepted:
        headers.append((b"accept-patch", ", ".join(error.accepted).encode()))
    if isinstance(error, Unauthorized) and error.challenge:
        headers.append((b"www-authenticate", error.challenge.encode()))
    if isinstance(error, WrongOffset):
        headers.append((b"upload-offset", str(error.offset).encode()))
    if isinstance(error, RangeNotSatisfiable):
        headers.append((b"content-range", f"bytes */{error.size}".encode()))
    if isinstance(error, RequestTimeout):
        # RFC 9110, section 15.5.9: "the server SHOULD send the "close" connection option".
        headers.append((b"connection", b"close"))
    if isinstance(error, TooManyAttempts | UploadBusy):
        headers.append((b"retry-after", str(error.seconds).encode()))
    if status_of(error) is HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))
    return headers


def failure_sentence(request_id: str) -> str:
    """The sentence of a 500. The cause is in the log alone."""
    return f"The registry failed to answer; its log has the cause under {request_id}."


def negotiated_error(status: HTTPStatus, sentence: str, headers: Sequence[Header], accept: str) -> Answer:
    """An error in JSON when the client accepts that by name, else the sentence as text."""
    if "application/json" in accept.lower():
        return json_error(status, sentence, headers, accept)
    return text_answer(sentence + "\n", status, headers)


def json_error(
    status: HTTPStatus,
    sentence: str,
    headers: Sequence[Header],
    accept: str,  # noqa: ARG001 - a `RenderError`
) -> Answer:
    """An error in JSON, also for clients that do not say that they accept it."""
    return json_answer({"error": {"code": status.value, "title": status.phrase, "message": sentence}}, status, headers)
