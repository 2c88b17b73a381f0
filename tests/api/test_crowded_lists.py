# SPDX-License-Identifier: Apache-2.0
"""Lists of thousands of images: whichever way the database is led to a page, it is the page of a plain model.

The ways of `catalogue.paging` part where a condition is met by more than 2,000 images; this crowd is on both sides.
"""

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import ENGINES, Client
from tests.options import make_settings
from tests.plain_lists import START, matches, sort_value
from tests.speeds import scaled

from glance_registry.catalogue import images
from glance_registry.model.image import COMMUNITY, PRIVATE, PUBLIC, SHARED, Image
from glance_registry.model.member import Member

CROWD = 2_700
DICE = random.Random(1917)


def _seldom(usual: Any, *rare: Any) -> Any:
    """Nearly always the usual value."""
    return usual if DICE.random() < 0.92 else DICE.choice(rare)


def _kept(number: int) -> images.ImageRecord:
    created = START + timedelta(seconds=number // 3)
    deleted = _seldom(None, created)
    properties = {"os": _seldom("linux", "", "x" * 300), **_seldom({}, {"arch": "arm"}, {"arch": "x86"})}
    image = Image(
        id=str(UUID(int=number * 7919 % CROWD)),
        name=_seldom("common", None, "", "rare", "é"),
        status=_seldom("active", "queued", "killed"),
        visibility=_seldom(PUBLIC, SHARED, SHARED, COMMUNITY, PRIVATE),
        owner=DICE.choice([None, "me", "them"]),
        size=_seldom(100, None, 0, 2**63 - 1),
        min_ram=_seldom(0, 64),
        disk_format=_seldom("raw", None, "iso"),
        container_format=_seldom("bare", None, "ovf"),
        protected=_seldom(False, True),
        properties={} if deleted else properties,
        created_at=created,
        updated_at=created + timedelta(seconds=_seldom(0, 1, 100, 1_000)),
        deleted_at=deleted,
    )
    return images.ImageRecord(image, () if image.visibility == PRIVATE else _seldom((), (Member(member_id="me"),)))


KEPT = [_kept(number) for number in range(CROWD)]


class Ask(NamedTuple):
    """A query string's parameters, and who asks."""

    project: str | None
    admin: bool
    filters: dict[str, Any]
    sort_key: str
    descending: bool


ASKS = st.builds(
    Ask,
    project=st.sampled_from([None, "me", "them"]),
    admin=st.booleans(),
    filters=st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["common", "common", "rare", "", "é", "none"]),
            "status": st.sampled_from(["active", "active", "queued", "killed"]),
            "disk_format": st.sampled_from(["raw", "raw", "iso", ""]),
            "container_format": st.sampled_from(["bare", "bare", "ovf"]),
            "size_min": st.sampled_from([0, 1, 101]),
            "size_max": st.sampled_from([0, 100, 2**63 - 1]),
            "min_ram": st.sampled_from([0, 64]),
            "protected": st.booleans(),
            "property-os": st.sampled_from(["linux", "linux", "", "x" * 300, "none"]),
            "property-arch": st.sampled_from(["arm", "x86"]),
            "changes-since": st.sampled_from([-1, 100, 890]),
            "is_public": st.sampled_from(["True", "False", "None"]),
            "deleted": st.booleans(),
        },
    ),
    sort_key=st.sampled_from(
        ["created_at", "created_at", "updated_at", "name", "status", "disk_format", "container_format", "size", "id"]
    ),
    descending=st.booleans(),
)


def _lists(ask: Ask, kept: images.ImageRecord) -> bool:
    image, filters = kept.image, ask.filters
    shared = image.visibility == SHARED and Member(member_id=ask.project or "") in kept.members
    own = ask.project is not None and (image.owner == ask.project or shared)
    public = {"True": True, "False": False, "None": None}[filters.get("is_public", "True")] if ask.admin else True
    if not (image.is_public or own if public else public is None or not image.is_public):
        return False
    deleted = filters.get("deleted") if ask.admin else None
    if deleted is None and "changes-since" not in filters:
        deleted = False
    if deleted is not None and deleted != image.deleted:
        return False
    if deleted is False and image.status == "killed":
        return False
    return all(matches(image, name, value) for name, value in filters.items())


def _wanted(ask: Ask) -> list[str]:
    """The ids of the whole list, in order."""
    found = [kept.image for kept in KEPT if _lists(ask, kept)]
    found.sort(key=lambda image: sort_value(image, ask.sort_key), reverse=ask.descending)
    return [image.id for image in found]


@pytest.fixture(scope="module", params=ENGINES)
def crowd(request: pytest.FixtureRequest, make_database: Callable[[str], str]) -> Iterator[Client]:
    client = Client(make_settings(make_database(request.param), registry__contract="queens", identity__mode="context"))
    assert client.operate(images.add_all, KEPT) == CROWD
    yield client
    client.close()


def _page(client: Client, ask: Ask, limit: int, marker: str | None = None) -> list[str]:
    query = {**ask.filters, "sort_key": ask.sort_key, "sort_dir": "desc" if ask.descending else "asc", "limit": limit}
    if "changes-since" in query:
        query["changes-since"] = (START + timedelta(seconds=query["changes-since"])).isoformat()
    if marker is not None:
        query["marker"] = marker
    answer = client.caller(ask.project, "admin" if ask.admin else "member").get("/images", params=query)
    assert answer.status_code == 200, answer.text
    return [image["id"] for image in answer.json()["images"]]


@settings(max_examples=scaled(120))
@given(ask=ASKS, at=st.floats(0, 1), limit=st.sampled_from([1, 3, 20]))
def test_a_page_out_of_a_crowd_is_the_model_s(crowd: Client, ask: Ask, at: float, limit: int) -> None:
    wanted = _wanted(ask)

    assert _page(crowd, ask, limit) == wanted[:limit]
    if wanted:
        here = int(at * (len(wanted) - 1))
        assert _page(crowd, ask, limit, wanted[here]) == wanted[here + 1 : here + 1 + limit]


@pytest.mark.parametrize("sort_key", ["created_at", "name", "size"])
@pytest.mark.parametrize("project", [None, "me"])
def test_a_walk_through_a_crowd_meets_every_image_once(crowd: Client, project: str | None, sort_key: str) -> None:
    ask = Ask(project, False, {}, sort_key, True)
    found = page = _page(crowd, ask, 400)

    while page and len(found) <= CROWD:
        page = _page(crowd, ask, 400, page[-1])
        found = found + page

    assert found == _wanted(ask)
