# SPDX-License-Identifier: Apache-2.0
"""The conversations of the API server of 2011 with its own registry, replayed against ours.

Every field that the recorded answer has must be equal in ours, which may have more. What differs on purpose is
listed in `DIFFERENCES`, exchange by exchange: one that is not listed fails, and so does one that is listed but gone.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Client

RECORDED = [json.loads(line) for line in Path(__file__).with_name("2011.jsonl").read_text().splitlines()]
FIXED, MARCH = "tree 2011-fixed", "tree 2011-mar09"

TIMES = ("created_at", "updated_at", "deleted_at")
WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")

REASONS = {
    "taken": "an id that is taken is a conflict, 409; that server broke with 500",
    "formats": "the document requires both formats: 400; the server of March accepted an image without them",
    "unregistered": "what follows from that: the image of 2011 was never registered here",
    "created is updated": "an image that was never updated was last changed when it was created; null there",
    "touched": "an update that changes nothing is an update: it sets updated_at; not there",
    "deleted image": "DELETE answers the image as it is then; no body there",
    "words": "an error's body is our sentence, without WebOb's frame around it",
}

# kind of difference -> mode -> the exchanges, numbered from 1 within the mode
DIFFERENCES: dict[str, dict[str, set[int]]] = {
    "taken": {FIXED: {15}, MARCH: {15}},
    "formats": {MARCH: {37}},
    "unregistered": {MARCH: {38, 39, 40, 41}},
    "created is updated": {FIXED: {2, 6, 7, 10, 23}, MARCH: {2, 6, 7, 10, 23}},
    "touched": {FIXED: {24}, MARCH: {24}},
    "deleted image": {FIXED: {31, 33}, MARCH: {31, 33}},
    "words": {FIXED: {14, 16, 17, 18, 22, 34, 35, 37}, MARCH: {14, 16, 17, 18, 22, 34, 35}},
}


class Replay:
    """Sends recorded requests, with our ids in place of theirs, and collects how the answers differ."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ours: dict[int, str] = {}

    def run(self, exchange: dict[str, Any]) -> Iterator[str]:
        """The kinds of the differences, or the difference itself when it is of no known kind."""
        answer = self._client.request(
            exchange["method"], self._our_path(exchange["path"]), json=self._our_body(exchange["body"])
        )
        status, theirs = exchange["status"], exchange["answer"]
        if answer.status_code != status:
            yield self._kind_of_status(exchange, answer.status_code)
        elif status >= 400:
            yield "words" if _sentence(theirs) in answer.text else f"{answer.text!r} instead of {theirs!r}"
        elif theirs == "(no body)":
            yield "deleted image" if answer.json()["image"]["deleted"] else f"{answer.text!r} instead of no body"
        elif "image" in theirs:
            yield from self._differences(theirs["image"], answer.json()["image"])
        else:
            yield from self._differences_of_lists(theirs["images"], answer.json()["images"])

    def _our_path(self, path: str) -> str:
        return re.sub(r"(?<=^/images/)\d+$", lambda found: self._ours.get(int(found[0]), found[0]), path)

    def _our_body(self, body: Any) -> Any:
        if not body or "id" not in body["image"]:
            return body
        given = body["image"]["id"]
        return {"image": {**body["image"], "id": self._ours.get(int(given), given)}}

    def _kind_of_status(self, exchange: dict[str, Any], status: int) -> str:
        kinds = {("POST", 500, 409): "taken", ("POST", 200, 400): "formats", ("PUT", 200, 404): "unregistered"}
        plain = f"status {status} instead of {exchange['status']}"
        return kinds.get((exchange["method"], exchange["status"], status), plain)

    def _differences(self, theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
        self._ours.setdefault(theirs["id"], ours["id"])
        for field, value in theirs.items():
            kept = ours.get(field, "(missing)")
            if field == "updated_at" and value is None and WHEN.fullmatch(str(kept)):
                yield "created is updated" if kept == ours["created_at"] else "touched"
            elif not _same(field, value, kept, self._ours):
                yield f"{field} {kept!r} instead of {value!r}"

    def _differences_of_lists(self, theirs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> Iterator[str]:
        """Theirs ascend by id, ours begin with the newest: they are compared as sets."""
        by_id = {image["id"]: image for image in ours}
        for image in theirs:
            if image["id"] not in self._ours:
                yield "unregistered"
                continue
            yield from self._differences(image, by_id.pop(self._ours[image["id"]], {"id": None}))
        yield from (f"lists {image}" for image in by_id.values())


def _same(field: str, theirs: Any, ours: Any, our_ids: dict[int, str]) -> bool:
    if field == "id":
        return our_ids[theirs] == ours
    if field in TIMES and theirs is not None:
        return bool(WHEN.fullmatch(theirs) and WHEN.fullmatch(str(ours)))
    return bool(theirs == ours and type(theirs) is type(ours))


def _sentence(error: str) -> str:
    """The first sentence of what WebOb wrapped; nothing when it wrapped none of the registry's own."""
    return re.search(r"Got error: (.*?\.)(?:\s|$)|$", error)[1] or ""


@pytest.mark.parametrize("mode", [FIXED, MARCH])
def test_the_recorded_conversation_goes_the_same_way_but_for_the_listed_differences(client: Client, mode: str) -> None:
    replay = Replay(client)
    exchanges = [exchange for exchange in RECORDED if exchange["mode"] == mode]

    found = {(n, what) for n, exchange in enumerate(exchanges, 1) for what in replay.run(exchange)}

    listed = {(n, what) for what, numbers in DIFFERENCES.items() for n in numbers.get(mode, ())}
    assert sorted(found - listed) == [], "differences that are not listed"
    assert sorted(listed - found) == [], "differences that are listed and do not occur"


def test_every_recorded_exchange_is_replayed_and_every_difference_has_a_reason() -> None:
    assert {exchange["mode"] for exchange in RECORDED} == {FIXED, MARCH}
    assert DIFFERENCES.keys() == REASONS.keys()
