# SPDX-License-Identifier: Apache-2.0
"""Error class to HTTP status, and the body that says what went wrong."""

from http import HTTPStatus

from glance_registry.api.responses import Answer, json_answer, text_answer
from glance_registry.model.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    RegistryError,
    StorageFull,
    TooLarge,
    Unauthorized,
    Unavailable,
)


class MethodNotAllowed(RegistryError):
    """The path is there, the method is not; `allowed` are the methods that are."""

    code = "method-not-allowed"

    def __init__(self, method: str, allowed: list[str]) -> None:
        super().__init__(f"Method {method} is not allowed here; allowed: {', '.join(allowed)}.")
        self.allowed = allowed


class RequestTimeout(RegistryError):
    """The request did not come to its end within the time that a setting allows; its connection is closed."""

    code = "request-timeout"


class ClientGone(RegistryError):
    """The client closed its connection before it had its answer: nobody reads this."""

    code = "client-gone"

    def __init__(self) -> None:
        super().__init__("The client closed the connection.")


class UnsupportedType(RegistryError):
    """The body's Content-Type is none of those that are understood here, which `accepted` are."""

    code = "unsupported-type"

    def __init__(self, sentence: str, accepted: tuple[str, ...]) -> None:
        super().__init__(sentence)
        self.accepted = accepted


class Misdirected(RegistryError):
    """The request's Host is not one of the names under which the registry is served."""

    code = "misdirected"


class TooManyAttempts(RegistryError):
    """Too many wrong passwords, or too many at once, from this address; it may try again after some seconds."""

    code = "too-many-attempts"

    def __init__(self, sentence: str, seconds: int) -> None:
        super().__init__(sentence)
        self.seconds = seconds


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
    TooManyAttempts: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
}

RETRY_AFTER_SECONDS = 1


def answer_error(error: RegistryError, accept: str) -> Answer:
    """The answer to a request that failed: JSON when the caller accepts it by name, else the sentence as text."""
    return with_headers(error, error_body(status_of(error), str(error), accept))


def status_of(error: RegistryError) -> HTTPStatus:
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def with_headers(error: RegistryError, answer: Answer) -> Answer:
    """An answer that says what went wrong, with the headers that belong to that."""
    if isinstance(error, MethodNotAllowed):
        answer.raw_headers.append((b"allow", ", ".join(error.allowed).encode()))
    if isinstance(error, UnsupportedType) and error.accepted:
        answer.raw_headers.append((b"accept-patch", ", ".join(error.accepted).encode()))
    if isinstance(error, Unauthorized) and error.challenge:
        answer.raw_headers.append((b"www-authenticate", error.challenge.encode()))
    if isinstance(error, RequestTimeout):
        # RFC 9110, section 15.5.9: "the server SHOULD send the "close" connection option".
        answer.raw_headers.append((b"connection", b"close"))
    if isinstance(error, TooManyAttempts):
        answer.raw_headers.append((b"retry-after", str(error.seconds).encode()))
    if status_of(error) is HTTPStatus.SERVICE_UNAVAILABLE:
        answer.raw_headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))
    return answer


def answer_failure(request_id: str, accept: str) -> Answer:
    """The answer when the fault is ours."""
    return error_body(HTTPStatus.INTERNAL_SERVER_ERROR, failure_sentence(request_id), accept)


def failure_sentence(request_id: str) -> str:
    """What is said when the fault is ours: nothing of the cause leaves the log."""
    return f"The registry failed to answer; its log has the cause under {request_id}."


def error_body(status: HTTPStatus, sentence: str, accept: str) -> Answer:
    if "application/json" in accept.lower():
        return json_answer({"error": {"code": status.value, "title": status.phrase, "message": sentence}}, status)
    return text_answer(sentence + "\n", status)
