# SPDX-License-Identifier: Apache-2.0
"""Lists of thousands of images in the Images API: whichever way the database is led to a page, it is the page of a
plain model. The crowd is that of the Registry API's test, with what only this API knows."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import cmp_to_key
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.api.test_crowded_lists import CROWD, DICE, START
from tests.api.test_crowded_lists import KEPT as PLAIN
from tests.conftest import ENGINES, Client
from tests.options import make_settings
from tests.speeds import scaled

from glance_registry.catalogue import images
from glance_registry.model.image import COMMUNITY, PRIVATE, PUBLIC, SHARED, Image


def _kept(plain: images.ImageRecord) -> images.ImageRecord:
    image, chance = plain.image, DICE.random()
    tags = () if image.deleted else ("common",) if chance < 0.9 else ("common", "rare") if chance < 0.95 else ()
    members = tuple(
        replace(member, status=DICE.choice(["pending", "accepted", "accepted", "rejected"])) for member in plain.members
    )
    return images.ImageRecord(replace(image, tags=tags, os_hidden=DICE.random() < 0.05), members)


KEPT = [_kept(plain) for plain in PLAIN]
TIMES = st.sampled_from([-1, 0, 100, 450, 899])
LISTS = st.lists(st.sampled_from(["common", "rare", "", "none", 'a,"b'])).filter(bool)


class Ask(NamedTuple):
    """A query string's parameters, and who asks."""

    project: str | None
    admin: bool
    view: dict[str, str]
    filters: dict[str, Any]
    tags: list[str]
    sort: list[tuple[str, bool]]


KEYS = ("created_at", "updated_at", "name", "status", "disk_format", "container_format", "size", "id")
ASKS = st.builds(
    Ask,
    project=st.sampled_from([None, "me", "them"]),
    admin=st.sampled_from([False, False, True]),
    view=st.fixed_dictionaries(
        {},
        optional={
            "visibility": st.sampled_from([PUBLIC, SHARED, COMMUNITY, PRIVATE, "all"]),
            "member_status": st.sampled_from(["pending", "accepted", "rejected", "all"]),
            "os_hidden": st.sampled_from(["true", "False"]),
        },
    ),
    filters=st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["common", "rare", ""]) | LISTS,
            "status": st.sampled_from(["active", "queued", "killed"]),
            "disk_format": st.sampled_from(["raw", "iso"]) | st.lists(st.sampled_from(["raw", "iso"]), min_size=1),
            "id": st.lists(st.sampled_from([kept.image.id for kept in KEPT]), min_size=1, max_size=5),
            "owner": st.sampled_from(["me", "them"]),
            "size_min": st.sampled_from([0, 1, 101]),
            "min_ram": st.sampled_from([0, 64]),
            "protected": st.booleans(),
            "os": st.sampled_from(["linux", "", "none"]),
            "created_at": st.tuples(st.sampled_from(["gt", "gte", "lt", "lte", "eq", "neq"]), TIMES),
            "updated_at": st.tuples(st.sampled_from(["gt", "gte", "lt", "lte"]), TIMES),
        },
    ),
    tags=st.lists(st.sampled_from(["common", "rare"]), unique=True),
    sort=st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=3, unique_by=lambda term: term[0]),
)


def _is_looked_through(ask: Ask, kept: images.ImageRecord) -> bool:
    image, wanted = kept.image, ask.view.get("visibility")
    status = ask.view.get("member_status", "accepted")
    own = ask.project is not None and image.owner == ask.project
    shared = image.visibility == SHARED and any(
        member.member_id == ask.project and status in ("all", member.status) for member in kept.members
    )
    if not (ask.admin or image.visibility in (PUBLIC, COMMUNITY) or own or shared):
        return False
    if wanted is None:
        return image.visibility != COMMUNITY or own
    return wanted in ("all", image.visibility)


def _lists(ask: Ask, kept: images.ImageRecord) -> bool:
    image = kept.image
    if image.deleted or image.os_hidden != (ask.view.get("os_hidden") == "true"):
        return False
    if image.status == "killed" and "status" not in ask.filters:
        return False
    if not _is_looked_through(ask, kept) or not set(ask.tags) <= set(image.tags):
        return False
    return all(_matches(image, name, value) for name, value in ask.filters.items())


def _matches(image: Image, name: str, value: Any) -> bool:
    if name == "size_min":
        return image.size is not None and image.size >= value
    if name == "os":
        return image.properties.get("os") == value
    given = getattr(image, name)
    if isinstance(value, tuple):
        compare, seconds = value
        there: datetime = START + timedelta(seconds=seconds)
        outcomes = {"gt": given > there, "gte": given >= there, "lt": given < there, "lte": given <= there}
        return bool({**outcomes, "eq": given == there, "neq": given != there}[compare])
    return given in value if isinstance(value, list) else bool(given == value)


def _wanted(ask: Ask) -> list[str]:
    """The ids of the whole list, in order."""
    terms = ask.sort or [("created_at", True)]
    ties = terms[0][1] if len(ask.sort) == 1 else True
    whole = [*terms, *((key, ties) for key in ("created_at", "id"))]

    def value(image: Image, key: str) -> Any:
        found = getattr(image, key)
        return (-1 if key == "size" else "") if found is None else found

    def compare(one: Image, other: Image) -> int:
        for key, descending in whole:
            here, there = value(one, key), value(other, key)
            if here != there:
                return (1 if here > there else -1) * (-1 if descending else 1)
        return 0

    found = [kept.image for kept in KEPT if _lists(ask, kept)]
    return [image.id for image in sorted(found, key=cmp_to_key(compare))]


def _written(value: Any) -> str:
    if isinstance(value, list):
        quoted = ['"' + each.replace("\\", "\\\\").replace('"', '\\"') + '"' if "," in each else each for each in value]
        return "in:" + ",".join(quoted)
    if isinstance(value, tuple):
        return f"{value[0]}:{(START + timedelta(seconds=value[1])).isoformat()}"
    return str(value)


@pytest.fixture(scope="module", params=ENGINES)
def crowd(request: pytest.FixtureRequest, make_database: Callable[[str], str]) -> Iterator[Client]:
    client = Client(make_settings(make_database(request.param), registry__contract="queens", identity__mode="context"))
    assert client.operate(images.add_all, KEPT) == CROWD
    yield client
    client.close()


def _page(client: Client, ask: Ask, limit: int, marker: str | None = None) -> dict[str, Any]:
    query = [*ask.view.items(), *((name, _written(value)) for name, value in ask.filters.items())]
    query += [("tag", tag) for tag in ask.tags]
    if ask.sort:
        query.append(("sort", ",".join(f"{key}:{'desc' if descending else 'asc'}" for key, descending in ask.sort)))
    query.append(("limit", str(limit)))
    if marker is not None:
        query.append(("marker", marker))
    caller = client.caller(ask.project, "admin" if ask.admin else "member")
    answer = caller.get("/v2/images", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _ids(page: dict[str, Any]) -> list[str]:
    return [image["id"] for image in page["images"]]


@settings(max_examples=scaled(100))
@given(ask=ASKS, at=st.floats(0, 1), limit=st.sampled_from([1, 3, 20]))
def test_a_page_out_of_a_crowd_is_the_model_s(crowd: Client, ask: Ask, at: float, limit: int) -> None:
    wanted = _wanted(ask)

    first = _page(crowd, ask, limit)
    assert _ids(first) == wanted[:limit]
    assert ("next" in first) == (len(wanted) >= limit)
    if wanted:
        here = int(at * (len(wanted) - 1))
        assert _ids(_page(crowd, ask, limit, wanted[here])) == wanted[here + 1 : here + 1 + limit]


SORTS = (
    [("name", True), ("size", False)],
    [("status", False), ("created_at", True)],
    [("created_at", True), ("name", False)],
)


@pytest.mark.parametrize("sort", SORTS, ids=str)
def test_following_next_meets_every_image_once(crowd: Client, sort: list[tuple[str, bool]]) -> None:
    ask = Ask("me", False, {"visibility": "all"}, {}, ["common"], sort)
    caller, page = crowd.caller("me", "member"), _page(crowd, ask, 400)
    found = _ids(page)

    while "next" in page:
        assert len(found) <= CROWD
        page = caller.get(page["next"]).json()
        found += _ids(page)

    assert found == _wanted(ask)
