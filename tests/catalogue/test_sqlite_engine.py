# SPDX-License-Identifier: Apache-2.0
"""What is special about the catalogue in one SQLite file: groups of writes, long reads, a file that cannot be used."""

import asyncio
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from tests.catalogue.examples import ADMIN, everything, ids, image, ping
from tests.conftest import opened

from glance_registry.catalogue import images
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.open import open_catalogue
from glance_registry.catalogue.sqlite.catalogue import SqliteCatalogue
from glance_registry.catalogue.statements import driver
from glance_registry.model.contract import CACTUS
from glance_registry.model.errors import Conflict, NotFound, StorageFull, Unavailable
from glance_registry.model.image import Image
from glance_registry.model.query import Page, Query
from glance_registry.model.search import read_terms


@pytest.fixture
def sqlite(loop: asyncio.Runner, sqlite_database: str) -> Iterator[Catalogue]:
    with opened(loop, sqlite_database) as catalogue:
        yield catalogue


def kept(loop: asyncio.Runner, catalogue: Catalogue) -> set[str]:
    return loop.run(ids(catalogue))


def pragma(connection: Connection, setting: str) -> None:
    connection.exec_driver_sql(f"PRAGMA {setting}").close()


def add_then_raise(connection: Connection, image_id: str) -> None:
    images.add(connection, image(image_id))
    raise ArithmeticError("after its write")


def add_twice(connection: Connection, image_id: str) -> None:
    images.add(connection, image(image_id))
    connection.execute(text(f"INSERT INTO images SELECT * FROM images WHERE id = '{image_id}'"))


def test_who_fails_in_a_group_of_writes_harms_no_other(loop: asyncio.Runner, sqlite: Catalogue) -> None:
    go_on = threading.Event()

    def wait(connection: Connection) -> None:
        go_on.wait(60)

    async def one_group() -> list[Image | BaseException | None]:
        first = asyncio.ensure_future(sqlite.write(wait))
        group = []
        for number in range(10):
            group.append(sqlite.write(images.add, image(f"good{number}")))
            group.append(sqlite.write(add_then_raise, f"raises{number}"))
            group.append(sqlite.write(add_twice, f"twice{number}"))
            group.append(sqlite.write(images.add, image("taken")))
        waiting = asyncio.gather(*group, return_exceptions=True)
        await asyncio.sleep(0)
        go_on.set()
        await first
        return await waiting

    outcomes = loop.run(one_group())

    assert [type(outcome) for outcome in outcomes[0::4]] == [Image] * 10
    assert [type(outcome) for outcome in outcomes[1::4]] == [ArithmeticError] * 10
    assert [type(outcome) for outcome in outcomes[2::4]] == [Conflict] * 10
    assert [type(outcome) for outcome in outcomes[3::4]] == [Image] + [Conflict] * 9
    assert kept(loop, sqlite) == {f"good{number}" for number in range(10)} | {"taken"}


def count_to(connection: Connection, last: int, threads: list[int]) -> int:
    threads.append(threading.get_ident())
    counting = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < :last) SELECT max(x) FROM c"
    return int(connection.execute(text(counting), {"last": last}).scalar_one())


def test_a_short_read_runs_on_the_loop_and_a_long_one_again_in_a_thread(
    loop: asyncio.Runner, sqlite: Catalogue
) -> None:
    short: list[int] = []
    long: list[int] = []

    assert loop.run(sqlite.read(count_to, 100, short)) == 100
    assert loop.run(sqlite.read(count_to, 300_000, long)) == 300_000

    here = threading.get_ident()
    assert short == [here]
    assert long[0] == here
    assert here not in long[1:]
    assert len(long) == 2


def test_point_reads_answer_while_a_long_read_goes_on(loop: asyncio.Runner, sqlite: Catalogue) -> None:
    async def beside() -> int:
        await sqlite.write(images.add, image())
        long = asyncio.ensure_future(sqlite.read(count_to, 2_000_000, []))
        await asyncio.sleep(0)
        answered = 0
        while not long.done():
            await sqlite.read(images.get, "one", ADMIN, CACTUS)
            answered += 1
            await asyncio.sleep(0)
            if answered == 20:
                break
        assert not long.done()
        assert await long == 2_000_000
        return answered

    assert loop.run(beside()) == 20


@pytest.mark.parametrize(("searched", "where"), [("lts", ["loop"]), ("lts 24", ["loop", "thread"])])
def test_a_search_that_may_take_long_in_one_step_runs_in_a_thread(
    loop: asyncio.Runner, sqlite: Catalogue, searched: str, where: list[str]
) -> None:
    """The images of several words are merged in one step, which nothing interrupts."""
    here, ran = threading.get_ident(), []

    def search(connection: Connection) -> list[str]:
        ran.append("loop" if threading.get_ident() == here else "thread")
        query = Query(page=Page(5), terms=read_terms(searched))
        return [found.id for found in images.find(connection, query, ADMIN)]

    loop.run(sqlite.write(images.add, image(name="24.04 LTS", visibility="public")))

    assert loop.run(sqlite.read(search)) == ["one"]
    assert ran == where


def test_a_long_read_finds_out_that_it_fails_in_the_thread_as_on_the_loop(
    loop: asyncio.Runner, sqlite: Catalogue
) -> None:
    def count_and_miss(connection: Connection) -> None:
        count_to(connection, 300_000, [])
        images.get(connection, "none", ADMIN, CACTUS)

    with pytest.raises(NotFound):
        loop.run(sqlite.read(count_and_miss))


def test_a_long_write_is_not_interrupted(loop: asyncio.Runner, sqlite: Catalogue) -> None:
    threads: list[int] = []

    assert loop.run(sqlite.write(count_to, 300_000, threads)) == 300_000
    assert len(threads) == 1


@pytest.mark.parametrize("long", [False, True])
def test_a_read_cannot_write(loop: asyncio.Runner, sqlite: Catalogue, long: bool) -> None:
    def write(connection: Connection) -> None:
        count_to(connection, 300_000 if long else 1, [])
        images.add(connection, image())

    with pytest.raises(Unavailable, match="read-only"):
        loop.run(sqlite.read(write))
    assert kept(loop, sqlite) == set()


def test_a_full_disk_stops_writes_but_not_reads_and_is_forgotten_when_there_is_room(
    loop: asyncio.Runner, sqlite: Catalogue
) -> None:
    large = {"p": "x" * 60_000}
    loop.run(sqlite.write(images.add, image()))
    loop.run(sqlite.write(pragma, "max_page_count = 1"))  # The writer's connection takes no page more.

    for number in range(3):
        with pytest.raises(StorageFull, match="no room left"):
            loop.run(sqlite.write(images.add, image(f"large{number}", properties=large)))
        assert loop.run(sqlite.read(images.get, "one", ADMIN, CACTUS)) == image()
    loop.run(sqlite.write(pragma, "max_page_count = 1000000"))
    loop.run(sqlite.write(images.add, image("large", properties=large)))

    assert kept(loop, sqlite) == {"one", "large"}


def test_of_a_group_that_a_full_disk_stops_none_is_acknowledged_unless_it_is_kept(
    loop: asyncio.Runner, sqlite: Catalogue
) -> None:
    loop.run(sqlite.write(pragma, "max_page_count = 30"))

    async def add_all() -> list[Image | BaseException]:
        writes = (
            sqlite.write(images.add, image(f"i{number}", properties={"p": "x" * (50_000 * (number % 2))}))
            for number in range(40)
        )
        return await asyncio.gather(*writes, return_exceptions=True)

    outcomes = loop.run(add_all())

    assert all(isinstance(outcome, Image | StorageFull) for outcome in outcomes)
    assert any(isinstance(outcome, StorageFull) for outcome in outcomes)
    assert {outcome.id for outcome in outcomes if isinstance(outcome, Image)} == kept(loop, sqlite)


def test_a_read_only_file_stops_writes_but_not_reads_and_is_forgotten_when_it_is_writable(
    loop: asyncio.Runner, sqlite: Catalogue
) -> None:
    writers: list[Connection] = []

    def become_read_only(connection: Connection) -> None:
        writers.append(connection)
        pragma(connection, "query_only = ON")

    loop.run(sqlite.write(images.add, image()))
    loop.run(sqlite.write(become_read_only))

    for _ in range(3):
        with pytest.raises(Unavailable, match="read-only"):
            loop.run(sqlite.write(images.add, image("two")))
        assert loop.run(sqlite.read(images.get, "one", ADMIN, CACTUS)) == image()
    driver(writers[0]).execute("PRAGMA query_only = OFF").close()
    loop.run(sqlite.write(images.add, image("two")))

    assert kept(loop, sqlite) == {"one", "two"}


def end_thread(connection: Connection, image_id: str) -> None:
    images.add(connection, image(image_id))
    raise SystemExit("by a write")


def close_connection(connection: Connection, image_id: str) -> None:
    images.add(connection, image(image_id))
    driver(connection).close()


@pytest.mark.parametrize("spoil", [end_thread, close_connection])
def test_a_write_that_ends_the_writer_s_work_is_told_and_the_next_ones_succeed(
    loop: asyncio.Runner, sqlite: Catalogue, spoil: Callable[[Connection, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def write_beside() -> list[Image | BaseException | None]:
        writes = (sqlite.write(images.add, image(f"before{number}")) for number in range(3))
        return await asyncio.gather(*writes, sqlite.write(spoil, "spoilt"), return_exceptions=True)

    for number in range(3):
        outcomes = loop.run(write_beside())
        assert isinstance(outcomes[-1], Exception)
        loop.run(sqlite.write(images.add, image(f"after{number}")))
        loop.run(sqlite.check())

    told = {outcome.id for outcome in outcomes if isinstance(outcome, Image)}
    assert kept(loop, sqlite) - {"before0", "before1", "before2"} == {"after0", "after1", "after2"}
    assert told <= kept(loop, sqlite)
    assert any(record.exc_info for record in caplog.records)


def test_an_error_while_an_error_is_handled_does_not_end_the_writer(
    loop: asyncio.Runner, sqlite: Catalogue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Exception) -> Exception:
        raise ArithmeticError("in the handler")

    async def write_at_once() -> list[Image | BaseException]:
        writes = [sqlite.write(add_then_raise, "one"), *(sqlite.write(images.add, image(f"i{n}")) for n in range(5))]
        return await asyncio.gather(*writes, return_exceptions=True)

    with monkeypatch.context() as patched:
        patched.setattr("glance_registry.catalogue.sqlite.writer.translate", fail)
        outcomes = loop.run(write_at_once())
    assert isinstance(outcomes[0], Unavailable)
    assert str(outcomes[0]) == "The registry failed to write; its log has the cause."
    assert "in the handler" in caplog.text
    loop.run(sqlite.write(images.add, image("after")))

    assert kept(loop, sqlite) == {"after", *(outcome.id for outcome in outcomes if isinstance(outcome, Image))}


def test_a_writer_that_has_ended_is_noticed(loop: asyncio.Runner, sqlite: SqliteCatalogue) -> None:
    loop.run(sqlite.check())
    sqlite._writer.finish()

    with pytest.raises(Unavailable, match="thread that writes has ended"):
        loop.run(sqlite.check())
    with pytest.raises(Unavailable):
        loop.run(sqlite.write(images.add, image()))


@pytest.fixture
def other(sqlite_database: str) -> Iterator[sqlite3.Connection]:
    """Another program in the middle of a transaction."""
    path = sqlite_database.removeprefix("sqlite:///")
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


def test_a_file_locked_by_another_program_makes_writes_wait_and_then_say_so(
    loop: asyncio.Runner, sqlite: Catalogue, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glance_registry.catalogue.sqlite.writer.BUSY_SECONDS", 0.05)

    with pytest.raises(Unavailable, match="busy"):
        loop.run(sqlite.write(images.add, image()))
    loop.run(sqlite.read(ping))
    other.execute("ROLLBACK")
    loop.run(sqlite.write(images.add, image()))

    assert kept(loop, sqlite) == {"one"}


def test_a_write_has_its_turn_soon_after_another_program_s(
    loop: asyncio.Runner, sqlite: Catalogue, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own wait grows to a tenth of a second: by then the other program is in its next transaction."""
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 20:
            other.execute("COMMIT")

    monkeypatch.setattr("glance_registry.catalogue.sqlite.writer.time.sleep", wait)
    loop.run(sqlite.write(images.add, image()))

    assert len(waits) == 20
    assert max(waits) < 0.001
    assert kept(loop, sqlite) == {"one"}


@pytest.mark.parametrize("content", [b"garbage!" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_unavailable(loop: asyncio.Runner, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "no.sqlite"
    path.write_bytes(content)

    async def use() -> None:
        catalogue = open_catalogue(f"sqlite:///{path}")
        try:
            await catalogue.read(images.find, everything(), ADMIN)
        finally:
            await catalogue.close()

    with pytest.raises(Unavailable, match=r"^The database file cannot be used\.$"):
        loop.run(use())
    assert path.read_bytes() == content


@pytest.mark.parametrize("path", ["no/such/folder/registry.sqlite", "."])
def test_a_file_that_cannot_be_opened_is_unavailable(loop: asyncio.Runner, tmp_path: Path, path: str) -> None:
    async def use() -> Catalogue:
        return open_catalogue(f"sqlite:///{tmp_path / path}")

    with pytest.raises(Unavailable, match=r"^The database file cannot be opened: .*\.$"):
        loop.run(use())


def test_a_new_file_is_its_owner_s_alone(loop: asyncio.Runner, tmp_path: Path) -> None:
    async def create() -> Catalogue:
        catalogue = open_catalogue(f"sqlite:///{tmp_path / 'new.sqlite'}")
        with pytest.raises(sqlite3.OperationalError):  # It has no tables.
            await catalogue.write(images.add, image())
        return catalogue

    catalogue = loop.run(create())
    modes = {kept.name: stat.S_IMODE(kept.stat().st_mode) for kept in tmp_path.iterdir()}
    loop.run(catalogue.close())

    assert modes.keys() >= {"new.sqlite", "new.sqlite-wal"}
    assert set(modes.values()) == {0o600}


def test_what_was_acknowledged_is_on_disk(loop: asyncio.Runner, sqlite: Catalogue) -> None:
    """As far as a test can see: every commit waits for the disk (FULL is 2)."""

    def synchronous(connection: Connection) -> tuple[int, str]:
        return (
            connection.exec_driver_sql("PRAGMA synchronous").scalar_one(),
            connection.exec_driver_sql("PRAGMA journal_mode").scalar_one(),
        )

    assert loop.run(sqlite.write(synchronous)) == (2, "wal")
