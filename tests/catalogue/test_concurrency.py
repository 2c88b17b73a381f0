# SPDX-License-Identifier: Apache-2.0
"""Many at once, on both databases: every acknowledged write is there, once, and nobody waits for the impossible."""

import asyncio
import threading
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from sqlalchemy import Connection
from tests.catalogue.examples import ADMIN, REGISTRY, add_many, after_noon, everything, image, ping

from glance_registry.catalogue import images, members
from glance_registry.catalogue.base import Catalogue
from glance_registry.model.changes import Delete, SetProperties
from glance_registry.model.contract import CACTUS
from glance_registry.model.errors import Conflict, Overloaded, Unavailable
from glance_registry.model.image import Image


def test_of_64_changes_of_one_image_each_is_applied_or_a_conflict(loop: asyncio.Runner, catalogue: Catalogue) -> None:
    loop.run(catalogue.write(images.add, image()))

    async def change_all() -> list[Image | BaseException]:
        wanted = [SetProperties({f"p{number}": "x"}) for number in range(64)]
        writes = (catalogue.write(images.change, "one", [each], after_noon(1), ADMIN, REGISTRY) for each in wanted)
        return await asyncio.gather(*writes, return_exceptions=True)

    outcomes = loop.run(change_all())
    kept = loop.run(catalogue.read(images.get, "one", ADMIN, CACTUS))

    assert all(isinstance(outcome, Image | Conflict) for outcome in outcomes)
    applied = {f"p{number}" for number, outcome in enumerate(outcomes) if isinstance(outcome, Image)}
    assert kept.properties.keys() == applied
    assert kept.version == 1 + len(applied)
    assert sorted(o.version for o in outcomes if isinstance(o, Image)) == list(range(2, 2 + len(applied)))


def test_of_32_who_register_one_id_one_does(loop: asyncio.Runner, catalogue: Catalogue) -> None:
    async def add_all() -> list[Image | BaseException]:
        writes = (catalogue.write(images.add, image(name=f"n{number}")) for number in range(32))
        return await asyncio.gather(*writes, return_exceptions=True)

    outcomes = loop.run(add_all())

    assert Counter(type(outcome) for outcome in outcomes) == {Image: 1, Conflict: 31}
    (winner,) = (outcome for outcome in outcomes if isinstance(outcome, Image))
    assert loop.run(catalogue.read(images.find, everything(), ADMIN)) == [winner]


def test_of_16_who_delete_one_image_one_does(loop: asyncio.Runner, catalogue: Catalogue) -> None:
    loop.run(catalogue.write(images.add, image()))

    async def remove_all() -> list[Image | BaseException]:
        writes = (catalogue.write(images.change, "one", [Delete()], after_noon(1), ADMIN, REGISTRY) for _ in range(16))
        return await asyncio.gather(*writes, return_exceptions=True)

    assert sum(isinstance(outcome, Image) for outcome in loop.run(remove_all())) == 1


def test_members_that_are_added_at_once_are_all_there(loop: asyncio.Runner, catalogue: Catalogue) -> None:
    loop.run(catalogue.write(images.add, image()))

    async def share() -> None:
        await asyncio.gather(
            *(
                catalogue.write(members.put, "one", f"m{number % 10}", None, after_noon(0), ADMIN)
                for number in range(40)
            )
        )

    loop.run(share())

    there = loop.run(catalogue.read(members.find, "one", ADMIN))
    assert [member.member_id for member in there] == [f"m{n}" for n in range(10)]


def test_reads_answer_while_many_writes_wait(loop: asyncio.Runner, catalogue: Catalogue) -> None:
    async def mixed() -> None:
        writes = [asyncio.ensure_future(catalogue.write(images.add, image(f"i{number}"))) for number in range(300)]
        for _ in range(50):
            await catalogue.read(images.find, everything(5), ADMIN)
        await asyncio.gather(*writes)

    loop.run(mixed())

    assert len(loop.run(catalogue.read(images.find, everything(), ADMIN))) == 300


def test_a_read_whose_client_went_away_gives_back_what_it_held(loop: asyncio.Runner, catalogue: Catalogue) -> None:
    async def abandon() -> None:
        for _ in range(5):
            reads = [asyncio.ensure_future(catalogue.read(images.find, everything(), ADMIN)) for _ in range(40)]
            await asyncio.sleep(0)
            for read in reads:
                read.cancel()
            await asyncio.gather(*reads, return_exceptions=True)
        await asyncio.gather(*(catalogue.read(ping) for _ in range(100)))

    loop.run(abandon())


def test_a_write_whose_client_went_away_harms_no_other(loop: asyncio.Runner, catalogue: Catalogue) -> None:
    async def abandon() -> None:
        writes = [asyncio.ensure_future(catalogue.write(images.add, image(f"i{number}"))) for number in range(60)]
        await asyncio.sleep(0)
        for write in writes[::2]:
            write.cancel()
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert all(isinstance(outcome, Image) for outcome in outcomes[1::2])

    loop.run(abandon())
    kept = {found.id for found in loop.run(catalogue.read(images.find, everything(), ADMIN))}

    assert {f"i{number}" for number in range(1, 60, 2)} <= kept


def test_what_was_accepted_is_finished_before_the_catalogue_closes(loop: asyncio.Runner, sqlite_database: str) -> None:
    from glance_registry.catalogue.open import open_catalogue

    async def close_early() -> list[Image | BaseException]:
        catalogue = open_catalogue(sqlite_database)
        writes = [asyncio.ensure_future(catalogue.write(images.add, image(f"i{number}"))) for number in range(500)]
        await asyncio.sleep(0)
        await catalogue.close()
        with pytest.raises(Unavailable, match="shutting down"):
            await catalogue.write(images.add, image("late"))
        return await asyncio.gather(*writes, return_exceptions=True)

    assert all(isinstance(outcome, Image) for outcome in loop.run(close_early()))


def test_more_writes_than_may_wait_are_refused_at_once(loop: asyncio.Runner, sqlite_database: str) -> None:
    from glance_registry.catalogue.open import open_catalogue
    from glance_registry.catalogue.sqlite.writer import MAX_WAITING_WRITES, MAX_WRITES_AT_ONCE

    go_on = threading.Event()

    def wait(connection: Connection) -> None:
        go_on.wait(60)

    async def pile_up() -> list[BaseException | None]:
        catalogue = open_catalogue(sqlite_database)
        count = MAX_WAITING_WRITES + MAX_WRITES_AT_ONCE + 10
        writes = [asyncio.ensure_future(catalogue.write(wait)) for _ in range(count)]
        refused, _ = await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
        assert isinstance(refused.pop().exception(), Overloaded)
        go_on.set()
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        await catalogue.close()
        return outcomes

    outcomes = Counter(type(outcome) for outcome in loop.run(pile_up()))

    assert outcomes[type(None)] >= MAX_WAITING_WRITES
    assert outcomes[Overloaded] >= 10
    assert len(outcomes) == 2


@pytest.mark.external
def test_four_processes_write_into_one_database_and_lose_nothing(
    loop: asyncio.Runner, catalogue: Catalogue, database: str
) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as processes:
        running = [processes.submit(add_many, database, f"p{number}", 50) for number in range(4)]
        for process in running:
            process.result()

    kept = loop.run(catalogue.read(images.find, everything(), ADMIN))

    assert {found.id for found in kept} == {f"p{process}-{number}" for process in range(4) for number in range(50)}
    assert all(found.properties == {"a": found.id.partition("-")[0]} for found in kept)
