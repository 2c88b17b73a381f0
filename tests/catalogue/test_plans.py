# SPDX-License-Identifier: Apache-2.0
"""A page costs the same however many images there are, on both databases: no list reads a table from end to end, and
eight times the images, with as many deleted ones among them, are not more work.

What costs more is listed in docs/decisions.md ("Known costs of lists").
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection
from sqlalchemy.util import await_only
from tests.conftest import ENGINES

from glance_registry.catalogue import images
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.listing import pages
from glance_registry.catalogue.open import open_catalogue
from glance_registry.catalogue.statements import Prepared, driver
from glance_registry.model.access import ANONYMOUS, ANYONE_IS_ADMIN, Caller
from glance_registry.model.image import Image, delete
from glance_registry.model.member import Member
from glance_registry.model.query import SORT_DIRECTIONS, SORT_KEYS, TAG, Filter, Page, Query, Sort, View
from glance_registry.model.search import read_terms

SMALL, LARGE, MILLION = 1_000, 8_000, 1_000_000
FEW = 60
"""Stands for `pages.MAX_GATHERED`, which is meant for a million images."""

VISIBILITIES = ("public", "shared", "private", "community")
MINE, OTHERS = "mine", ("first", "second", "third")
START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)

MORE_WORK, LITTLE = 2.5, 500
"""Work in the large catalogue for the work in the small one, at most; less than a little work counts as that much."""


def crowd(count: int, deleted: int) -> list[images.ImageRecord]:
    """That many images, of which the project `mine` has ten and is a member of ten more, whatever their number; and
    deleted ones created at the same time."""
    choice = random.Random(count)
    # Not those of the last day: what changed then is asked for.
    gone = [_image(choice, number, deleted) for number in range(deleted - 100)]
    made = [_image(choice, number, count) for number in range(count)]
    made += [delete(image, image.updated_at) for image in gone if not image.deleted]
    # As they come to be in life, which PostgreSQL takes into account.
    made.sort(key=lambda image: image.created_at)
    shared = {number * (count // 10) + 7 for number in range(10)}
    return [images.ImageRecord(image, _members(number, number in shared)) for number, image in enumerate(made)]


def _members(number: int, is_shared_with_me: bool) -> tuple[Member, ...]:
    projects = [f"project-{number % 500}", f"project-{number % 300}-b", *([MINE] if is_shared_with_me else [])]
    return tuple(Member(member_id=project, status="accepted") for project in projects)


def _image(choice: random.Random, number: int, count: int) -> Image:
    # The last of the changes are a day's, whatever the size; the ids are in no order.
    # Nobody makes community images any more.
    created_at = START + number * HOUR * (100_000 / count) if number < count - 20 else START + 100_000 * HOUR
    is_rare = number % (count // 3) == 5
    image = Image(
        id=f"{choice.getrandbits(64):016x}",
        created_at=created_at,
        updated_at=created_at + timedelta(minutes=choice.randrange(50)),
        name=f"name-{choice.randrange(count // 4)}",
        status=choice.choices(("active", "queued", "killed"), (8, 1, 1))[0],
        visibility="public" if is_rare else choice.choices(VISIBILITIES, (4, 4, 1, 8 * (number < count // 8)))[0],
        disk_format=choice.choices(("qcow2", "raw", "vhd"), (7, 2, 1))[0],
        container_format=choice.choices(("bare", "ovf", None), (7, 2, 1))[0],
        size=choice.choice((None, choice.randrange(10**6))),
        owner=MINE if number % (count // 10) == 3 else choice.choice(OTHERS),
        os_hidden=number % (count // 20) == 2,
        tags=("lts", "rare") if is_rare else ("lts",),
        properties={
            "os": choice.choice(("linux", "windows")),
            "bus": choice.choice(("scsi", "virtio")),
            **({"build": "7"} if is_rare else {}),
        },
    )
    if number % 10 == 9:
        return replace(delete(image, image.updated_at), updated_at=image.updated_at)
    return image


class Kept(NamedTuple):
    """A catalogue, and the image in the middle of all orders that have one."""

    catalogue: Catalogue
    marker: str


class Filled(NamedTuple):
    loop: asyncio.Runner
    small: Kept
    large: Kept


@pytest.fixture(scope="module", params=ENGINES)
def filled(request: pytest.FixtureRequest, make_database: Callable[[str], str]) -> Iterator[Filled]:
    small, large = make_database(request.param), make_database(request.param)
    with asyncio.Runner() as loop:
        filled = Filled(loop, loop.run(_fill(small, SMALL, 0)), loop.run(_fill(large, LARGE, LARGE)))
        yield filled
        for kept in (filled.small, filled.large):
            loop.run(kept.catalogue.close())


async def _fill(database: str, count: int, deleted: int) -> Kept:
    catalogue = open_catalogue(database)
    made = crowd(count, deleted)
    for first in range(0, len(made), 500):
        await catalogue.write(images.add_all, made[first : first + 500])
    await catalogue.write(_gather_statistics)
    common = [kept.image.id for kept in made if _is_common(kept.image)]
    return Kept(catalogue, common[len(common) // 2])


def _is_common(image: Image) -> bool:
    fields = (image.visibility, image.status, image.disk_format, image.container_format)
    return (
        fields == ("public", "active", "qcow2", "bare")
        and (image.size or 0) > 10**5
        and "7" < image.id < "9"
        and not image.deleted
    )


def _gather_statistics(connection: Connection) -> None:
    """On SQLite there are none. PostgreSQL is told that its tables are as large as those that it is meant for: small
    ones it rather reads as a whole."""
    if connection.dialect.name != "postgresql":
        return
    for table in ("images", "image_properties", "image_members"):
        connection.exec_driver_sql(f"ALTER TABLE {table} SET (autovacuum_enabled = false)").close()
    _analyze(connection)
    ours = "relname LIKE 'image%' AND relkind IN ('r', 'i') AND reltuples > 0"
    connection.exec_driver_sql(f"UPDATE pg_class SET reltuples = reltuples * {MILLION // LARGE} WHERE {ours}").close()


def _analyze(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ANALYZE").close()


class Sent(NamedTuple):
    """A statement that a page took: what the database does for it, and how much work that was."""

    plan: str
    work: int


def _explain(connection: Connection, sql: str, values: Sequence[Any]) -> Sent:
    """On SQLite work is steps of its virtual machine, on PostgreSQL pages looked at, plus rows."""
    if connection.dialect.name == "sqlite":
        return _explain_on_sqlite(connection, sql, values)
    # Explained as it is run: as a statement that the server keeps, by its plan for whatever values.
    session, explain = driver(connection), "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)"
    given = ", ".join("NULL" if value is None else quoted(value) for value in values)
    await_only(session.execute(f"PREPARE explained AS {sql}"))
    (found,) = await_only(session.fetchrow(f"{explain} EXECUTE explained{f'({given})' if values else ''}"))
    await_only(session.execute("DEALLOCATE explained"))
    nodes = list(_nodes(found[0]["Plan"]))
    rows = sum(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) for node in nodes)
    plan = "\n".join(
        f"{node['Node Type']} {node.get('Relation Name', '')} {node.get('Index Name', '')}" for node in nodes
    )
    return Sent(plan, nodes[0]["Shared Hit Blocks"] + nodes[0]["Shared Read Blocks"] + round(rows))


def quoted(value: object) -> str:
    text = str(value).replace("'", "''")
    return f"'{text}'"


def _explain_on_sqlite(connection: Connection, sql: str, values: Sequence[Any]) -> Sent:
    raw, steps = driver(connection), 0

    def step() -> None:
        nonlocal steps
        steps += 1

    plan = "\n".join(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {sql}", values))
    raw.set_progress_handler(step, 1)
    try:
        raw.execute(sql, values).fetchall()
    finally:
        raw.set_progress_handler(None, 0)
    return Sent(plan, steps)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


def explained(connection: Connection, query: Query, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    """Every statement that a page takes."""
    sent: list[Sent] = []
    run = Prepared.all

    def spy(self: Prepared, connection: Connection, parameters: Any) -> Any:
        found = run(self, connection, parameters)
        sql, names, constants = self._compiled[connection.dialect.name]
        sent.append(_explain(connection, sql, [{**constants, **parameters}[name] for name in names]))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Prepared, "all", spy)
        patch.setattr(pages, "MAX_GATHERED", FEW)
        images.find(connection, query, caller)
    return sent


def _is_a_scan(line: str) -> bool:
    """Whether a line of a plan reads a whole table, in whatever order."""
    # SQLite's words for a MATCH, and for the terms between two.
    if line.startswith(("SCAN image_words VIRTUAL TABLE INDEX 0:M", "SCAN image_words_places VIRTUAL TABLE INDEX 6:")):
        return False
    return line.startswith(("Seq Scan images", "Seq Scan image_", "SCAN images", "SCAN image_"))


PROJECT = Caller(user="somebody", project=MINE)
CALLERS = {
    "anybody": (ANONYMOUS, True),
    "a project": (PROJECT, True),
    "an admin, all": (ANYONE_IS_ADMIN, None),
    "an admin, not public": (ANYONE_IS_ADMIN, False),
}
PAGE = Page(5)
A_DAY_AGO = START + 100_000 * HOUR - timedelta(days=1)

QUESTIONS = {
    "no filter": {},
    "name": {"filters": (Filter("name", "eq", "name-3"),)},
    "status": {"filters": (Filter("status", "eq", "queued"),)},
    "status and format": {"filters": (Filter("status", "eq", "active"), Filter("disk_format", "eq", "raw"))},
    "container format": {"filters": (Filter("container_format", "eq", "ovf"),)},
    "a size range": {"filters": (Filter("size", "ge", 500_000), Filter("size", "le", 500_000 + 20))},
    "a property that many have": {"properties": (("os", "linux"),)},
    "a property that three have": {"properties": (("build", "7"),)},
    "a property that none has": {"properties": (("os", "plan 9"),)},
    "two properties": {"properties": (("os", "linux"), ("bus", "scsi"))},
    "a rare and a common property": {"properties": (("os", "linux"), ("build", "7"))},
    "the changes of a day": {"changes_since": A_DAY_AGO, "deleted": None},
    "a size and a name": {"filters": (Filter("name", "eq", "name-3"), Filter("size", "ge", 10))},
}


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("who", CALLERS)
def test_a_page_is_no_more_work_in_a_larger_catalogue(
    filled: Filled, who: str, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, public = CALLERS[who]
    sorts = [Sort(key, direction == "desc") for key in SORT_KEYS for direction in SORT_DIRECTIONS]

    assert not too_much_work(filled, caller, sorts, {"public": public, **QUESTIONS[question]}, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["created_at", "updated_at"])
def test_a_page_of_a_visibility_never_walks_past_the_images_of_others(
    filled: Filled, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Community images are all old: along the index of all images a page of them is a walk past those that came since.
    Images lie in the order of their creation, and a planner that sees so takes that index for the cheap one."""
    query = Query(page=PAGE, sort=Sort(key), public=None)

    filled.loop.run(filled.large.catalogue.write(_analyze))
    sent = filled.loop.run(filled.large.catalogue.read(explained, query, ANYONE_IS_ADMIN, monkeypatch))
    filled.loop.run(filled.large.catalogue.write(_gather_statistics))

    plan = "\n".join(one.plan for one in sent)
    assert f"images_by_{key}" in plan
    assert f"images_{key}" not in plan


def too_much_work(
    filled: Filled, caller: Caller, sorts: Sequence[Sort], question: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> list[Any]:
    """In which orders the page's work grows with the catalogue, or reads a table."""
    too_much = []
    for sort, marked in itertools.product(sorts, (False, True)):
        small, large = (
            filled.loop.run(
                kept.catalogue.read(
                    explained,
                    Query(page=Page(5, kept.marker if marked else None), sort=sort, **question),
                    caller,
                    monkeypatch,
                )
            )
            for kept in (filled.small, filled.large)
        )
        scans = [line for sent in large for line in sent.plan.splitlines() if _is_a_scan(line)]
        before, now = (sum(sent.work for sent in one) for one in (small, large))
        if scans or now > MORE_WORK * max(before, LITTLE):
            too_much.append((sort, marked, before, now, scans))
    return too_much


VIEWERS = {"anybody": ANONYMOUS, "a project": PROJECT, "an admin": Caller(project=MINE, admin=True, writer=True)}
VIEWS = (View(), View("all"), View("shared"))
SORTS = (
    Sort(),
    Sort("name", descending=False),
    Sort("size"),
    Sort("name", False, (("size", True), ("created_at", True), ("id", True))),
)
VIEWED: dict[str, dict[str, Any]] = {
    "no filter": {},
    "hidden": {"hidden": True},
    "a tag that many have": {"properties": ((TAG, "lts"),)},
    "a tag that three have": {"properties": ((TAG, "rare"),)},
    "some names": {"filters": (Filter("name", "in", ("name-3", "name-7")),)},
    "some ids": {"filters": (Filter("id", "in", ("0", "1")),)},
    "registered since yesterday": {"filters": (Filter("created_at", "ge", A_DAY_AGO),)},
    "changed since yesterday": {"filters": (Filter("updated_at", "gt", A_DAY_AGO),)},
    "registered long ago": {"filters": (Filter("created_at", "lt", START + 30_000 * HOUR),)},
    "those of a large project": {"filters": (Filter("owner", "eq", "first"),)},
    "those of a small project": {"filters": (Filter("owner", "eq", MINE),)},
    "a word that three have": {"terms": read_terms("rare")},
    "a word that all have": {"terms": read_terms("lts")},
    "a word that none has": {"terms": read_terms("plan 9")},
    "a rare word and a common property": {"terms": read_terms("rar"), "properties": (("os", "linux"),)},
}


@pytest.mark.slow
@pytest.mark.parametrize("question", VIEWED)
@pytest.mark.parametrize("who", VIEWERS)
def test_a_view_is_no_more_work_in_a_larger_catalogue(
    filled: Filled, who: str, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, asked = VIEWERS[who], {"hidden": False, **VIEWED[question]}

    found = {view: too_much_work(filled, caller, SORTS, {"view": view, **asked}, monkeypatch) for view in VIEWS}

    assert {view: orders for view, orders in found.items() if orders} == {}
