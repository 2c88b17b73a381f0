# SPDX-License-Identifier: Apache-2.0
"""The client of the Registry API that commands use: for a server, or in this process."""

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

from glance_registry.app import build, open_stores
from glance_registry.cli.options import load_settings
from glance_registry.cli.serve import prepare_database
from glance_registry.model.contract import CACTUS
from glance_registry.model.visible import printable
from glance_registry.settings import Settings

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0
PAGE_SIZE = 500
"""Images per request of a list; the server may send fewer."""

MAX_SENTENCE_LENGTH = 1_000
IN_PROCESS = "http://localhost"


class Refused(click.ClickException):
    """The registry answered with an error; the message is its sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class OneImage(Struct):
    image: dict[str, Any]


class Images(Struct):
    images: list[dict[str, Any]]


class Client:
    """One method per call of the API. Raises Refused, or ClickException when there is no answer."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        run: Callable[[Coroutine[Any, Any, Any]], Any],
        settings: Settings | None = None,
    ) -> None:
        """`settings`: those of the registry, if it runs in this process."""
        self._http = http
        self._run = run
        self._settings = settings
        # The address is shown in errors, so it must not have the password of the URL.
        self._address = str(http.base_url.copy_with(userinfo=b"")).rstrip("/")

    def list_images(self, limit: int | None, sort: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """The images of GET /images/detail, page after page; at most `limit`, if given."""
        # "is_public=None means all" (protocol, section 3); for other callers than admins it means those that they see.
        query = {"is_public": "None", **sort}
        while limit is None or limit > 0:
            query["limit"] = str(PAGE_SIZE if limit is None else min(limit, PAGE_SIZE))
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

    def run(self, operation: Callable[[httpx.AsyncClient], Coroutine[Any, Any, T]]) -> T:
        """Run something that sends or fetches bytes of images. Raises what it raises."""
        if self._settings is not None:
            open_stores(self._settings).prepare()
        result: T = self._run(operation(self._http))
        return result

    @property
    def in_process(self) -> bool:
        """Whether the registry runs in this process: then an answer is held in memory as a whole."""
        return self._settings is not None

    def _send(self, expected: type[T], method: str, path: str, **options: Any) -> T:
        try:
            answer = self._run(self._http.request(method, path, **options))
        except UnicodeEncodeError:
            raise click.ClickException("An argument is not valid UTF-8.") from None
        except httpx.TimeoutException:
            raise click.ClickException(f"The registry at {self._address} did not answer in time.") from None
        except httpx.RequestError as error:
            reason = printable(str(error)).rstrip(".") or type(error).__name__
            raise click.ClickException(f"The registry at {self._address} cannot be reached: {reason}.") from None
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            raise Refused(answer.status_code, sentence_of(answer))
        try:
            return msgspec.json.decode(answer.content, type=expected)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._not_a_registry() from None

    def _not_a_registry(self) -> click.ClickException:
        return click.ClickException(f"The server at {self._address} is not a registry.")


@contextmanager
def connected(server: str | None, timeout: float = TIMEOUT_SECONDS) -> Iterator[Client]:
    """A client of the server at this URL, or else of the registry that the settings describe."""
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
        # A caller who can open the database needs no identity.
        application = build(replace(settings, identity=replace(settings.identity, mode="none")))
        http = httpx.AsyncClient(
            transport=httpx.ASGITransport(application), base_url=IN_PROCESS, headers={"accept": "application/json"}
        )
        try:
            yield Client(http, runner.run, settings)
        finally:
            runner.run(http.aclose())
            runner.run(application.close())


def _path(image_id: str) -> str:
    # Cactus allows the ids of all contracts. Other texts could lead to another path.
    return f"/images/{CACTUS.image_id(image_id)}"


def sentence_of(answer: httpx.Response) -> str:
    """The sentence with which the registry refused, or one made from the status."""
    try:
        sentence = str(answer.json()["error"]["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        is_text = answer.headers.get("content-type", "").startswith("text/plain")
        sentence = answer.text.strip() if is_text else ""
    if not sentence:
        return f"The registry answered {answer.status_code} {printable(answer.reason_phrase)}."
    return printable(sentence[:MAX_SENTENCE_LENGTH])
