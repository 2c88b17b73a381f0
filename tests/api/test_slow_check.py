# SPDX-License-Identifier: Apache-2.0
"""Checks of credentials off the event loop: shared while they run, remembered when they pass, bounded in number."""

import asyncio
import threading

import pytest

from glance_registry.api.errors import TooManyAttempts
from glance_registry.api.identity import guesses, slow_check
from glance_registry.api.identity.guesses import Guesses, Source
from glance_registry.api.identity.slow_check import Passed, SlowChecks
from glance_registry.model.errors import IdentityUnavailable, Unauthorized

ABUSER = "192.0.2.1"


class Checks:
    """Counts its checks; `now` is its clock; `open` lets them end, `begun` counts those that have begun."""

    def __init__(self, seconds: float = 60, threads: int = 4) -> None:
        self.now = 1000.0
        self.count = 0
        self.order: list[str] = []
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()
        self.checks = SlowChecks[str](seconds, threads=threads, clock=lambda: self.now)

    async def run(self, secret: str = "secret", passed: Passed[str] | None = None, source: Source | None = None) -> str:
        def check() -> Passed[str]:
            self.count += 1
            self.order.append(secret)
            self.begun.release()
            self.open.wait()
            if secret.startswith("wrong"):
                raise Unauthorized("wrong")
            return passed or Passed(secret)

        return await self.checks.run(secret.encode(), check, source)

    async def wait_for(self, count: int) -> None:
        """Until so many more checks have begun."""
        for _ in range(count):
            await asyncio.to_thread(self.begun.acquire)


def test_what_passed_is_remembered_for_its_time(loop: asyncio.Runner) -> None:
    checks = Checks(seconds=60)
    for now, count in ((0, 1), (59.9, 1), (60, 2), (119.9, 2), (120, 3)):
        checks.now = 1000 + now
        assert loop.run(checks.run()) == "secret"
        assert checks.count == count


def test_nothing_is_remembered_for_longer_than_it_is_true(loop: asyncio.Runner) -> None:
    checks = Checks(seconds=60)
    for now, count in ((0, 1), (4.9, 1), (5, 2)):
        checks.now = 1000 + now
        loop.run(checks.run(passed=Passed("found", 5)))
        assert checks.count == count


def test_with_no_time_nothing_is_remembered(loop: asyncio.Runner) -> None:
    checks = Checks(seconds=0)
    loop.run(checks.run())
    loop.run(checks.run())
    assert checks.count == 2


def test_the_time_to_the_answer_counts_as_old(loop: asyncio.Runner) -> None:
    checks = Checks(seconds=60)

    async def run_slowly() -> None:
        checks.open.clear()
        running = asyncio.ensure_future(checks.run())
        await checks.wait_for(1)
        checks.now += 50
        checks.open.set()
        await running
        checks.now += 10
        await checks.run()

    loop.run(run_slowly())
    assert checks.count == 2


def test_what_failed_is_checked_again(loop: asyncio.Runner) -> None:
    checks = Checks()
    for _ in range(2):
        with pytest.raises(Unauthorized):
            loop.run(checks.run("wrong"))
    assert checks.count == 2


@pytest.mark.parametrize("secret", ["secret", "wrong"])
def test_all_who_send_a_secret_at_once_share_one_check(loop: asyncio.Runner, secret: str) -> None:
    checks = Checks(seconds=0)

    async def run_many() -> list[str | BaseException]:
        checks.open.clear()
        running = asyncio.gather(*(checks.run(secret) for _ in range(50)), return_exceptions=True)
        await checks.wait_for(1)
        checks.open.set()
        return await running

    found = loop.run(run_many())
    assert checks.count == 1
    assert {str(answer) for answer in found} == {secret}


def test_one_who_gives_up_takes_nobody_along(loop: asyncio.Runner) -> None:
    checks = Checks()

    async def run_two() -> str:
        checks.open.clear()
        first, second = (asyncio.ensure_future(checks.run()) for _ in range(2))
        await checks.wait_for(1)
        first.cancel()
        await asyncio.sleep(0)
        checks.open.set()
        return await second

    assert loop.run(run_two()) == "secret"


def test_only_so_many_may_wait(loop: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_check, "MAX_CHECKS", 2)
    checks = Checks()

    async def run_three() -> None:
        checks.open.clear()
        running = asyncio.gather(checks.run("one"), checks.run("two"))
        await checks.wait_for(2)
        try:
            with pytest.raises(IdentityUnavailable):
                await checks.run("three")
        finally:
            checks.open.set()
        await running
        assert await checks.run("three") == "three"

    loop.run(run_three())


def test_nobody_waits_for_ever(loop: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_check, "MAX_WAIT_SECONDS", 0.05)
    checks = Checks()
    checks.open.clear()
    try:
        with pytest.raises(IdentityUnavailable):
            loop.run(checks.run())
    finally:
        checks.open.set()


def test_only_so_many_are_remembered_and_the_oldest_goes_first(
    loop: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_check, "MAX_REMEMBERED", 2)
    checks = Checks()
    for secret, count in (("one", 1), ("two", 2), ("one", 2), ("three", 3), ("two", 3), ("one", 4)):
        loop.run(checks.run(secret))
        assert checks.count == count


def test_the_secret_itself_is_not_kept(loop: asyncio.Runner) -> None:
    checks = Checks()
    loop.run(checks.run("the-secret", Passed("found")))
    assert "the-secret" not in repr(vars(checks.checks))
    assert "found" in repr(vars(checks.checks))


async def settled(tasks: list[asyncio.Task[str]]) -> list[str]:
    """What each found, or the class of its error."""
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [type(one).__name__ if isinstance(one, BaseException) else one for one in found]


def start(checks: Checks, secrets: list[str], address: str, name: str | None = None) -> list[asyncio.Task[str]]:
    return [
        asyncio.ensure_future(checks.run(secret, source=Source(address, secret if name is None else name)))
        for secret in secrets
    ]


def numbered(word: str, count: int) -> list[str]:
    return [f"{word}{number}" for number in range(count)]


def test_addresses_take_turns_and_known_secrets_come_first(loop: asyncio.Runner) -> None:
    checks = Checks(seconds=0, threads=1)

    async def run() -> None:
        await checks.run("known", source=Source("elsewhere", "known"))
        checks.open.clear()
        tasks = start(checks, numbered("wrong", 4), ABUSER)
        await checks.wait_for(2)  # That of the known secret, and the first of these.
        tasks += start(checks, ["new", "newer"], "198.51.100.1") + start(checks, ["other"], "198.51.100.2")
        tasks += start(checks, ["known"], ABUSER)
        await asyncio.sleep(0)
        checks.open.set()
        await settled(tasks)

    loop.run(run())

    assert checks.order == ["known", "wrong0", "known", "wrong1", "new", "other", "wrong2", "newer", "wrong3"]


def test_an_address_and_a_user_there_have_so_many_checks_waiting(loop: asyncio.Runner) -> None:
    checks = Checks(threads=1)

    async def run() -> tuple[list[str], list[str], list[str]]:
        checks.open.clear()
        one_name = start(checks, numbered("a", slow_check.MAX_CHECKS_PER_USER + 3), ABUSER, "alice")
        names = start(checks, numbered("b", slow_check.MAX_CHECKS_PER_ADDRESS), ABUSER)
        other = start(checks, numbered("c", slow_check.MAX_CHECKS_PER_USER), "198.51.100.1", "alice")
        await asyncio.sleep(0)
        checks.open.set()
        return await settled(one_name), await settled(names), await settled(other)

    one_name, names, other = loop.run(run())

    assert one_name.count(TooManyAttempts.__name__) == 3
    assert names.count(TooManyAttempts.__name__) == slow_check.MAX_CHECKS_PER_USER
    assert TooManyAttempts.__name__ not in other


def test_when_all_may_wait_no_more_the_address_with_the_most_gives_way(
    loop: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_check, "MAX_CHECKS", 10)
    checks = Checks(threads=1)

    async def run() -> tuple[list[str], list[str], list[str]]:
        checks.open.clear()
        many = start(checks, numbered("many", 10), ABUSER)
        await checks.wait_for(1)
        few = start(checks, ["few0", "few1"], "198.51.100.1")
        await asyncio.sleep(0)
        more = start(checks, ["more"], ABUSER)
        await asyncio.sleep(0)
        checks.open.set()
        return await settled(many), await settled(few), await settled(more)

    many, few, more = loop.run(run())

    assert many == [*numbered("many", 8), *[TooManyAttempts.__name__] * 2]
    assert few == ["few0", "few1"]
    assert more == [IdentityUnavailable.__name__]


def test_a_check_that_nobody_waits_for_any_more_is_not_run(loop: asyncio.Runner) -> None:
    checks = Checks(threads=1)

    async def run() -> None:
        checks.open.clear()
        (first,) = start(checks, ["first"], ABUSER)
        await checks.wait_for(1)
        gone = start(checks, ["gone"], ABUSER)
        await asyncio.sleep(0)
        gone[0].cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        checks.open.set()
        await first
        await checks.run("last", source=Source(ABUSER, "last"))

    loop.run(run())

    assert checks.order == ["first", "last"]


def test_nothing_of_a_check_that_ended_stays_in_the_tables(loop: asyncio.Runner) -> None:
    checks = Checks()

    async def run() -> None:
        await settled(start(checks, [*numbered("wrong", 5), *numbered("right", 5)], ABUSER))

    loop.run(run())

    assert (checks.checks._checks, checks.checks._by_address, checks.checks._by_source) == ({}, {}, {})
    assert len(checks.checks._guesses) == 5


def test_a_secret_that_is_no_longer_right_is_no_longer_known(loop: asyncio.Runner) -> None:
    checks = Checks(seconds=0)
    source = Source(ABUSER, "alice")

    async def fail() -> None:
        def check() -> Passed[str]:
            raise Unauthorized("wrong")

        await checks.checks.run(b"old", check, source)

    async def run() -> None:
        await checks.run("old", source=source)
        for _ in range(guesses.MAX_FREE_FAILURES + 1):
            with pytest.raises(Unauthorized):
                await fail()
        with pytest.raises(TooManyAttempts):
            await fail()

    loop.run(run())


def test_the_wait_after_wrong_guesses_doubles_up_to_a_minute_and_is_forgotten() -> None:
    now = 0.0
    table, source = Guesses(lambda: now), Source(ABUSER, "alice")
    waits = []
    for _ in range(2000):
        table.count_failure(source)
        waits.append(table.seconds_to_wait(source))

    assert waits[: guesses.MAX_FREE_FAILURES + 7] == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert set(waits[guesses.MAX_FREE_FAILURES + 7 :]) == {60}
    now = guesses.FORGET_AFTER_SECONDS + 1
    table.count_failure(source)
    assert table.seconds_to_wait(source) == 0


def test_the_tables_of_guessers_and_of_known_secrets_are_bounded(
    loop: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guesses, "MAX_SOURCES", 3)
    monkeypatch.setattr(slow_check, "MAX_KNOWN", 3)
    checks = Checks()
    for secret in (*numbered("wrong", 5), *numbered("right", 5)):
        loop.run(settled_one(checks, secret))

    assert (len(checks.checks._guesses), len(checks.checks._known)) == (3, 3)


async def settled_one(checks: Checks, secret: str) -> None:
    await settled(start(checks, [secret], ABUSER))
