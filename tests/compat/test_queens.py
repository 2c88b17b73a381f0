# SPDX-License-Identifier: Apache-2.0
"""The conversations of the API server of 2018 ("Queens") with its own registry, replayed against ours.

Every answer must be the same JSON. What differs on purpose is listed in `DIFFERENCES`, exchange by exchange, and
in docs/compat.md: one that is not listed fails, and so does one that is listed but gone.
"""

import json
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from tests.compat.test_2011 import DIFFERENCES as DIFFERENCES_OF_2011
from tests.conftest import Client
from tests.options import make_settings

Json = Any

RECORDED = [json.loads(line) for line in Path(__file__).with_name("queens.jsonl").read_text().splitlines()]
PAGE = Path(__file__).parents[2] / "docs" / "compat.md"
NOAUTH, TRUSTED = "mode noauth", "mode trusted"
IDENTITY = {NOAUTH: "none", TRUSTED: "context"}

TIMES = ("created_at", "updated_at", "deleted_at")
WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")
ABSENT = "(absent)"
NOT_FOUND = {"The resource could not be found.": "Image not found"}


def _to(first: int, last: int) -> set[int]:
    return set(range(first, last + 1))


# name of the difference, as in docs/compat.md -> mode -> the exchanges, numbered from 1 within the mode
DIFFERENCES: dict[str, dict[str, set[int]]] = {
    # A deleted image has no locations; there a list that has deleted images still shows them.
    "locations of deleted images": {NOAUTH: {129}},
    # What DELETE answers has every field; there is_public is missing.
    "the answer of DELETE": {NOAUTH: {82, 100, 105, 110, 115, 128}, TRUSTED: {58, 65, 68, 71}},
    # An error's body is our sentence; theirs is the status line and a sentence of the toolkit's.
    "words of errors": {NOAUTH: {8, 73, 116}, TRUSTED: {9, 10, 11, 28, 36, 49, 51, 59, 61}},
}

EVERYWHERE = ("numbers of locations",)
"""An entry of `location_data` never has an `id`: see `test_api_server.py`."""


class Replay:
    """Sends recorded requests, with our ids in place of theirs, and collects how the answers differ."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ours: dict[str, str] = {}

    def run(self, exchange: Json) -> Iterator[str]:
        """The names of the differences, or the difference itself when it has no name."""
        body = {} if exchange["body"] is None else {"content": self._translate(json.dumps(exchange["body"]))}
        answer = self._client.request(
            exchange["method"], self._translate(exchange["path"]), headers=exchange["headers"], **body
        )
        theirs, media_type = exchange["answer"], exchange["answer_headers"].get("Content-Type", "").partition(";")[0]
        if answer.status_code != exchange["status"]:
            yield f"status {answer.status_code} instead of {exchange['status']}"
        elif answer.headers.get("content-type", "").partition(";")[0] != media_type:
            yield f"{answer.headers.get('content-type')} instead of {media_type}"
        elif theirs == "(no body)":
            yield from ["a body instead of none"] if answer.content else []
        elif exchange["status"] >= 400:
            yield from _of_errors(self._translate(theirs), answer.text)
        else:
            ours = answer.json()
            if exchange["method"] == "POST":
                self._ours[theirs["image"]["id"]] = ours["image"]["id"]
            yield from self._of_values("answer", json.loads(self._translate(json.dumps(theirs))), ours)

    def _translate(self, text: str) -> str:
        for theirs, ours in self._ours.items():
            text = text.replace(theirs, ours)
        return text

    def _of_values(self, field: str, theirs: Json, ours: Json) -> Iterator[str]:
        if isinstance(theirs, dict) and isinstance(ours, dict):
            yield from self._of_objects(theirs, ours)
        elif isinstance(theirs, list) and isinstance(ours, list):
            for one, other in zip_longest(theirs, ours, fillvalue=ABSENT):
                yield from self._of_values(field, one, other)
        elif field in TIMES and theirs is not None:
            assert WHEN.fullmatch(theirs)
            yield from [] if WHEN.fullmatch(str(ours)) else [f"{field} {ours!r}"]
        elif theirs != ours or type(theirs) is not type(ours):
            yield f"{field} {ours!r} instead of {theirs!r}"

    def _of_objects(self, theirs: Json, ours: Json) -> Iterator[str]:
        for name in theirs.keys() | ours.keys():
            one, other = theirs.get(name, ABSENT), ours.get(name, ABSENT)
            if name == "location_data":
                yield from self._of_locations(theirs, ours)
            elif (name, one) == ("is_public", ABSENT) and ours["deleted"]:
                yield "the answer of DELETE"
            else:
                yield from self._of_values(name, one, other)

    def _of_locations(self, theirs: Json, ours: Json) -> Iterator[str]:
        if theirs["deleted"] and {place["status"] for place in theirs["location_data"]} == {"deleted"}:
            yield "locations of deleted images" if ours["location_data"] == [] else f"locations {ours}"
            return
        for one, other in zip_longest(theirs["location_data"], ours["location_data"], fillvalue={"url": ABSENT}):
            if {name: value for name, value in one.items() if name != "id"} != other:
                yield f"location {other} instead of {one}"


def _of_errors(theirs: str, ours: str) -> Iterator[str]:
    """Ours is one line: the last one of theirs, or our own where that is the toolkit's."""
    sentence = theirs.rpartition("\n")[2].strip()
    allowed = {sentence, NOT_FOUND.get(sentence)}
    yield "words of errors" if ours.removesuffix("\n") in allowed else f"{ours!r} instead of {theirs!r}"


@pytest.mark.parametrize("mode", [NOAUTH, TRUSTED])
def test_the_recorded_conversation_goes_the_same_way_but_for_the_listed_differences(database: str, mode: str) -> None:
    client = Client(
        make_settings(
            database,
            registry__contract="queens",
            registry__clients="api_servers",
            identity__mode=IDENTITY[mode],
        )
    )
    replay = Replay(client)
    exchanges = [exchange for exchange in RECORDED if exchange["mode"] == mode]

    found = {(n, what) for n, exchange in enumerate(exchanges, 1) for what in replay.run(exchange)}
    client.close()

    listed = {(n, what) for what, numbers in DIFFERENCES.items() for n in numbers.get(mode, ())}
    assert sorted(found - listed) == [], "differences that are not listed"
    assert sorted(listed - found) == [], "differences that are listed and do not occur"


def test_all_200_recorded_exchanges_are_replayed() -> None:
    assert len(RECORDED) == 200
    assert {exchange["mode"] for exchange in RECORDED} == IDENTITY.keys()


@pytest.mark.parametrize("difference", [*DIFFERENCES, *EVERYWHERE, *DIFFERENCES_OF_2011])
def test_the_page_for_operators_names_each_difference(difference: str) -> None:
    assert f"**{difference}**" in PAGE.read_text()
