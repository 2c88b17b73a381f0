# SPDX-License-Identifier: Apache-2.0
"""The Registry API as the commands speak it, to a server or in this process; what fails is one sentence."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Any, TypeVar

import click
import httpx
import msgspec
from msgspec import Struct

from glance_registry.app import build
from glance_registry.cli.options import load_settings
from glance_registry.cli.serve import prepare_database
from glance_registry.model.contract import CACTUS
from glance_registry.model.visible import printable
from glance_registry.settings import Settings

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0
PAGE = 500
"""Images that a list asks for at once; the server may send fewer."""

LONGEST_SENTENCE = 1_000
IN_PROCESS = "http://localhost"


class Refused(click.ClickException):
    """The registry answered, but not as hoped; the message is its own sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class OneImage(Struct):
    image: dict[str, Any]


class Images(Struct):
    images: list[dict[str, Any]]


class Client:
    """Each call of the API is a method. Raises Refused, or ClickException when there is no answer."""

    def __init__(self, http: httpx.AsyncClient, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._http = http
        self._run = run
        # A password in the URL is for the server alone.
        self._place = str(http.base_url.copy_with(userinfo=b"")).rstrip("/")

    def list_images(self, limit: int | None, sort: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Images as `detail` has them, page after page; at most `limit`, if given."""
        # "is_public=None means all" (protocol, section 3); who may not ask for that is given what they may see.
        query = {"is_public": "None", **sort}
        while limit is None or limit > 0:
            query["limit"] = str(PAGE if limit is None else min(limit, PAGE))
            page = self._send(Images, "GET", "/images/detail", params=query).images
            if not page:
                return
            last = str(page[-1].get("id"))
            if last == query.get("marker"):
                raise self._not_a_registry()
            query["marker"] = last
            yield from page if limit is None else page[:limit]
            limit = None if limit is None else limit - len(page)

    def show_image(self, image_id: str) -> dict[str, Any]:
        return self._send(OneImage, "GET", _path(image_id)).image

    def create_image(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._send(OneImage, "POST", "/images", json={"image": body}).image

    def update_image(self, image_id: str, body: Mapping[str, Any], *, purge_properties: bool) -> dict[str, Any]:
        headers = {"x-glance-registry-purge-props": "true"} if purge_properties else {}
        return self._send(OneImage, "PUT", _path(image_id), json={"image": body}, headers=headers).image

    def delete_image(self, image_id: str) -> dict[str, Any]:
        return self._send(OneImage, "DELETE", _path(image_id)).image

    def _send(self, expected: type[T], method: str, path: str, **options: Any) -> T:
        try:
            answer = self._run(self._http.request(method, path, **options))
        except UnicodeEncodeError:
            raise click.ClickException("What was given is not valid UTF-8.") from None
        except httpx.TimeoutException:
            raise click.ClickException(f"The registry at {self._place} did not answer in time.") from None
        except httpx.RequestError as error:
            reason = printable(str(error)).rstrip(".") or type(error).__name__
            raise click.ClickException(f"The registry at {self._place} cannot be reached: {reason}.") from None
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            raise Refused(answer.status_code, _sentence(answer))
        try:
            return msgspec.json.decode(answer.content, type=expected)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._not_a_registry() from None

    def _not_a_registry(self) -> click.ClickException:
        return click.ClickException(f"What answers at {self._place} is not a registry.")


@contextmanager
def connected(server: str | None, timeout: float = TIMEOUT_SECONDS) -> Iterator[Client]:
    """A client of the server at this URL; without one, of the registry that the settings describe."""
    if server is None:
        with _in_process(load_settings().settings) as client:
            yield client
        return
    with asyncio.Runner() as runner:
        try:
            http = httpx.AsyncClient(base_url=server, timeout=timeout, headers={"accept": "application/json"})
        except httpx.InvalidURL as error:
            raise click.ClickException(f"The server's URL cannot be used: {error}.") from None
        try:
            yield Client(http, runner.run)
        finally:
            runner.run(http.aclose())


@contextmanager
def _in_process(settings: Settings) -> Iterator[Client]:
    with asyncio.Runner() as runner:
        runner.run(prepare_database(settings.database.connection))
        # Whoever may open the database needs no leave from an identity mode.
        application = build(replace(settings, identity=replace(settings.identity, mode="none")))
        http = httpx.AsyncClient(
            transport=httpx.ASGITransport(application), base_url=IN_PROCESS, headers={"accept": "application/json"}
        )
        try:
            yield Client(http, runner.run)
        finally:
            runner.run(http.aclose())
            runner.run(application.close())


def _path(image_id: str) -> str:
    # Cactus allows every id that any contract does; what it does not allow could name another path.
    return f"/images/{CACTUS.image_id(image_id)}"


def _sentence(answer: httpx.Response) -> str:
    """Why the registry refused, in its own words where it has some."""
    try:
        sentence = str(answer.json()["error"]["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        is_text = answer.headers.get("content-type", "").startswith("text/plain")
        sentence = answer.text.strip() if is_text else ""
    if not sentence:
        return f"The registry answered {answer.status_code} {printable(answer.reason_phrase)}."
    return printable(sentence[:LONGEST_SENTENCE])
