# SPDX-License-Identifier: Apache-2.0
"""Several callers do anything the protocol allows, in any order, and the registry does what a plain model of it does.

The model below is the registry protocol, section 3, in the shortest Python that says it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count, product
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule, run_state_machine_as_test
from sqlalchemy import Connection, delete
from tests.conftest import Client, identity
from tests.options import make_settings
from tests.plain_lists import START, matches, sort_value
from tests.speeds import scaled

from glance_registry.catalogue.tables import metadata

# Who calls: project, whether an admin (who may change everything), headers.
CALLERS: dict[str, tuple[str | None, bool, dict[str, str]]] = {
    "admin": ("a", True, identity("a", "Admin")),
    "owner": ("o", False, identity("o", "member")),
    "friend": ("f", False, identity("f", "member")),
    "user": (None, False, identity(None, "member")),
    "nobody": (None, False, {}),
}
PROJECTS = ("a", "f", "o")
READERS = ("user", "nobody")
"""Who acts for no project changes nothing."""
STATUSES = ("queued", "saving", "active", "killed")
SORT_KEYS = ("created_at", "updated_at", "name", "status", "container_format", "disk_format", "size", "id")


@dataclass
class Model:
    """An image as the protocol describes it."""

    id: str
    created_at: datetime
    updated_at: datetime
    owner: str | None
    status: str = "active"
    is_public: bool = False
    name: str | None = None
    size: int | None = None
    disk_format: str | None = None
    container_format: str | None = None
    protected: bool = False
    deleted_at: datetime | None = None
    properties: dict[str, str] = field(default_factory=dict)
    members: dict[str, bool] = field(default_factory=dict)

    def set(self, given: dict[str, Any]) -> None:
        for name, value in given.items():
            if name == "properties":
                self.properties.update(value)
            else:
                setattr(self, name, value)

    def shown(self) -> dict[str, Any]:
        return {
            **{
                name: getattr(self, name)
                for name in ("id", "owner", "status", "is_public", "name", "size", "protected")
            },
            **{name: getattr(self, name) for name in ("disk_format", "container_format", "properties")},
            "created_at": _shown_time(self.created_at),
            "updated_at": _shown_time(self.updated_at),
            "deleted_at": self.deleted_at and _shown_time(self.deleted_at),
            "deleted": self.deleted_at is not None,
            "min_disk": 0,
            "min_ram": 0,
            **dict.fromkeys(("checksum", "virtual_size", "location")),
            "location_data": [],
        }


def _shown_time(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%f")


TEXTS = st.sampled_from([None, "", "a", "B", "é", "\U0001f40b"])
PROPERTIES = st.dictionaries(st.sampled_from(["p", "q"]), st.sampled_from(["", "1", "x" * 300]), max_size=2)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "name": TEXTS,
    "status": st.sampled_from(STATUSES),
    "is_public": st.booleans(),
    "size": st.sampled_from([None, 0, 1, 2**63 - 1]),
    "disk_format": st.sampled_from([None, "raw", "iso"]),
    "container_format": st.sampled_from([None, "bare"]),
    "protected": st.sampled_from([False, False, False, True]),
    "owner": st.sampled_from(["o", "x"]),
    "properties": PROPERTIES,
}
GIVEN = st.fixed_dictionaries({}, optional=FIELDS)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(STATUSES),
        "name": st.sampled_from(["", "a", "é"]),
        "disk_format": st.just("raw"),
        "size_min": st.sampled_from([0, 1]),
        "size_max": st.sampled_from([0, 1]),
        "protected": st.booleans(),
        "property-p": st.sampled_from(["", "1", "x" * 300]),
        "is_public": st.sampled_from(["True", "False", "None"]),
        "deleted": st.booleans(),
        "changes-since": st.integers(0, 20),
    },
)
WHO = st.sampled_from(["admin", "admin", "owner", "owner", "friend", "user", "nobody"])
WHO_SHARES = st.sampled_from(["admin", "owner", "friend", "friend", "friend", "user", "nobody"])
MEMBER = st.sampled_from([*PROJECTS, "f"])


class Clock:
    """Stands still until somebody moves it: images of one instant must keep their order, too."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


class Machine(RuleBasedStateMachine):
    """One run begins with an empty database and ends with a look at everything."""

    client: Client
    clock: Clock
    images = Bundle("images")

    @initialize()
    def begin(self) -> None:
        self.clock.now = START
        self.numbers = count(1)
        self.kept: dict[str, Model] = {}

    # What callers do.

    @rule(target=images, who=WHO, given=GIVEN, prefix=st.integers(0, 3))
    def register(self, who: str, given: dict[str, Any], prefix: int) -> Any:
        project, admin, _ = CALLERS[who]
        image_id = str(UUID(int=prefix << 120 | next(self.numbers)))
        body = {**given, "id": image_id}
        if who in READERS:
            self._expect(403, who, "POST", "/images", {"image": body})
            return multiple()
        now = self._stamp()
        image = Model(image_id, now, now, project)
        image.set(body if admin else {**body, "owner": project})
        self.kept[image_id] = image
        answer = self._expect(200, who, "POST", "/images", {"image": body})
        assert answer["image"] == image.shown()
        return image_id

    @rule(who=WHO, image_id=images)
    def register_again(self, who: str, image_id: str) -> None:
        self._expect(403 if who in READERS else 409, who, "POST", "/images", {"image": {"id": image_id}})

    @rule(who=WHO, image_id=images, given=GIVEN, purge=st.booleans(), state=st.sampled_from([None, None, *STATUSES]))
    def update(self, who: str, image_id: str, given: dict[str, Any], purge: bool, state: str | None) -> None:
        image, body = self.kept[image_id], {"image": given, "from_state": state}
        status = self._status_of_change(who, image)
        if status == 200 and state not in (None, image.status):
            status = 409
        answer = self._expect(status, who, "PUT", f"/images/{image_id}", body, purge=purge)
        if status == 200:
            if purge:
                image.properties = {}
            allowed = {name: value for name, value in given.items() if name != "owner" or CALLERS[who][1]}
            image.set(allowed)
            image.updated_at = self._stamp()
            assert answer["image"] == image.shown()

    @rule(who=WHO, image_id=images)
    def delete(self, who: str, image_id: str) -> None:
        image = self.kept[image_id]
        status = self._status_of_change(who, image)
        if status == 200 and image.protected:
            status = 403
        answer = self._expect(status, who, "DELETE", f"/images/{image_id}")
        if status == 200:
            image.deleted_at = image.updated_at = self._stamp()
            image.properties = {}
            assert answer["image"] == image.shown()

    @rule(who=WHO_SHARES, image_id=images, member=MEMBER, can_share=st.sampled_from([None, True, False]))
    def share(self, who: str, image_id: str, member: str, can_share: bool | None) -> None:
        image, status = self.kept[image_id], self._status_of_sharing(who, self.kept[image_id])
        body = None if can_share is None else {"member": {"can_share": can_share}}
        self._expect(status, who, "PUT", f"/images/{image_id}/members/{member}", body)
        if status == 204:
            image.members[member] = image.members.get(member, False) if can_share is None else can_share

    @rule(who=WHO_SHARES, image_id=images, member=MEMBER)
    def unshare(self, who: str, image_id: str, member: str) -> None:
        image, status = self.kept[image_id], self._status_of_sharing(who, self.kept[image_id])
        if status == 204 and member not in image.members:
            status = 404
        self._expect(status, who, "DELETE", f"/images/{image_id}/members/{member}")
        if status == 204:
            del image.members[member]

    @rule(who=WHO_SHARES, image_id=images, members=st.dictionaries(MEMBER, st.booleans(), max_size=3))
    def share_anew(self, who: str, image_id: str, members: dict[str, bool]) -> None:
        image, status = self.kept[image_id], self._status_of_sharing(who, self.kept[image_id])
        wanted = [{"member_id": member, "can_share": can_share} for member, can_share in members.items()]
        self._expect(status, who, "PUT", f"/images/{image_id}/members", {"memberships": wanted})
        if status == 204:
            image.members = members

    @rule(seconds=st.integers(1, 5))
    def time_passes(self, seconds: int) -> None:
        self.clock.now += timedelta(seconds=seconds)

    def _stamp(self) -> datetime:
        """The time of a change: after that of all changes before it, also while the clock stands still."""
        newest = max((image.updated_at for image in self.kept.values()), default=START - timedelta(days=1))
        return max(self.clock(), newest + timedelta(microseconds=1))

    # What callers see.

    @rule(who=WHO, image_id=images)
    def show(self, who: str, image_id: str) -> None:
        image, admin = self.kept[image_id], CALLERS[who][1]
        seen = self._sees(who, image) and (image.deleted_at is None or admin)
        answer = self._expect(200 if seen else 404, who, "GET", f"/images/{image_id}")
        assert not seen or answer["image"] == image.shown()

    @rule(who=WHO, image_id=images)
    def list_members(self, who: str, image_id: str) -> None:
        image, (project, admin, _) = self.kept[image_id], CALLERS[who]
        seen = self._sees(who, image) and (image.deleted_at is None or admin)
        answer = self._expect(200 if seen else 404, who, "GET", f"/images/{image_id}/members")
        if seen:
            all_of_them = admin or (project is not None and project == image.owner)
            members = image.members if image.deleted_at is None else {}
            wanted = {name: share for name, share in members.items() if all_of_them or name == project}
            assert {member["member_id"]: member["can_share"] for member in answer["members"]} == wanted

    @rule(who=WHO, member=MEMBER)
    def list_shared_images(self, who: str, member: str) -> None:
        project, admin, _ = CALLERS[who]
        wanted = {
            image.id: image.members[member]
            for image in self.kept.values()
            if member in image.members and image.deleted_at is None
            if admin or (project is not None and project in (member, image.owner))
        }
        answer = self._expect(200, who, "GET", f"/shared-images/{member}")
        assert {shared["image_id"]: shared["can_share"] for shared in answer["shared_images"]} == wanted

    @rule(
        who=WHO,
        filters=FILTERS,
        sort_key=st.sampled_from(SORT_KEYS),
        descending=st.booleans(),
        limit=st.sampled_from([1, 2, 3, 1000]),
    )
    def list_images(self, who: str, filters: dict[str, Any], sort_key: str, descending: bool, limit: int) -> None:
        query = {**filters, "sort_key": sort_key, "sort_dir": "desc" if descending else "asc", "limit": limit}
        if "changes-since" in filters:
            query["changes-since"] = (START + timedelta(seconds=filters["changes-since"])).isoformat()
        wanted = [image for image in self.kept.values() if self._lists(who, image, filters)]
        wanted.sort(key=lambda image: sort_value(image, sort_key), reverse=descending)

        found = list(self._walk(who, query))

        assert found == [image.shown() for image in wanted]

    def teardown(self) -> None:
        if hasattr(self, "kept"):
            everything = {"is_public": "None", "changes-since": -1}
            self.list_images("admin", everything, "id", False, 3)
            for who, member in product(CALLERS, PROJECTS):
                self.list_shared_images(who, member)
            self.client.operate(_remove_everything)

    # The rules.

    def _sees(self, who: str, image: Model) -> bool:
        project, admin, _ = CALLERS[who]
        return (
            admin or image.is_public or (project is not None and (project == image.owner or project in image.members))
        )

    def _status_of_change(self, who: str, image: Model) -> int:
        project, admin, _ = CALLERS[who]
        if who in READERS:
            return 403
        if image.deleted_at is not None:
            return 404
        if admin or (project is not None and project == image.owner):
            return 200
        return 403 if image.is_public else 404

    def _status_of_sharing(self, who: str, image: Model) -> int:
        project, admin, _ = CALLERS[who]
        if who in READERS:
            return 403
        if image.deleted_at is not None or not self._sees(who, image):
            return 404
        return 204 if admin or (project is not None and (project == image.owner or image.members.get(project))) else 403

    def _lists(self, who: str, image: Model, filters: dict[str, Any]) -> bool:
        project, admin, _ = CALLERS[who]
        public = {"True": True, "False": False, "None": None}[filters.get("is_public", "True")] if admin else True
        own = project is not None and (project == image.owner or project in image.members)
        if not (image.is_public or own if public else public is None or not image.is_public):
            return False
        deleted = filters.get("deleted") if admin else None
        if deleted is None and "changes-since" not in filters:
            deleted = False
        if deleted is not None and deleted != (image.deleted_at is not None):
            return False
        if deleted is False and image.status == "killed":
            return False
        return all(matches(image, name, value) for name, value in filters.items())

    # Requests.

    def _expect(
        self, status: int, who: str, method: str, path: str, body: Any = None, *, purge: bool = False, **more: Any
    ) -> Any:
        headers = {**CALLERS[who][2], **({"X-Glance-Registry-Purge-Props": "true"} if purge else {})}
        answer = self.client.request(method, path, json=body, headers=headers, **more)
        assert answer.status_code == status, f"{who}: {method} {path} {body}: {answer.status_code} {answer.text}"
        return answer.json() if status == 200 else None

    def _walk(self, who: str, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """All the pages of a list, one after the other."""
        markers: list[str] = []
        page = self._expect(200, who, "GET", "/images/detail", params=query)["images"]
        while page:
            yield from page
            markers.append(page[-1]["id"])
            assert markers.count(markers[-1]) == 1, "the walk goes in circles"
            page = self._expect(200, who, "GET", "/images/detail", params={**query, "marker": markers[-1]})["images"]


def _remove_everything(connection: Connection) -> None:
    for table in metadata.tables.values():
        connection.execute(delete(table))


@pytest.mark.parametrize(("engine", "examples", "steps"), [("sqlite", 100, 50), ("postgresql", 25, 40)])
def test_whatever_callers_do_the_registry_does_what_the_protocol_says(
    make_database: Callable[[str], str], engine: str, examples: int, steps: int
) -> None:
    clock = Clock()
    client = Client(
        make_settings(
            make_database(engine),
            registry__contract="queens",
            registry__clients="api_servers",
            identity__mode="context",
        ),
        now=clock,
    )
    machine = type("BoundMachine", (Machine,), {"client": client, "clock": clock})

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=scaled(examples),
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    client.close()
