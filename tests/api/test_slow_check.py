# SPDX-License-Identifier: Apache-2.0
"""Checks of credentials off the event loop: shared while they run, remembered when they pass, bounded in number."""

import asyncio
import threading

import pytest

from glance_registry.api.identity import slow_check
from glance_registry.api.identity.slow_check import Passed, SlowChecks
from glance_registry.model.errors import IdentityUnavailable, Unauthorized


class Checks:
    """Counts its checks; `now` is its clock; `open` lets them end, `begun` counts those that have begun."""

    def __init__(self, seconds: float = 60) -> None:
        self.now = 1000.0
        self.count = 0
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()
        self.checks = SlowChecks[str](seconds, threads=4, clock=lambda: self.now)

    async def run(self, secret: str = "secret", passed: Passed[str] | None = None) -> str:
        def check() -> Passed[str]:
            self.count += 1
            self.begun.release()
            self.open.wait()
            if secret == "wrong":
                raise Unauthorized("wrong")
            return passed or Passed(secret)

        return await self.checks.run(secret.encode(), check)

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
    monkeypatch.setattr(slow_check, "WAITING_AT_MOST", 2)
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
    monkeypatch.setattr(slow_check, "PATIENCE_SECONDS", 0.05)
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
    monkeypatch.setattr(slow_check, "REMEMBERED_AT_MOST", 2)
    checks = Checks()
    for secret, count in (("one", 1), ("two", 2), ("one", 2), ("three", 3), ("two", 3), ("one", 4)):
        loop.run(checks.run(secret))
        assert checks.count == count


def test_the_secret_itself_is_not_kept(loop: asyncio.Runner) -> None:
    checks = Checks()
    loop.run(checks.run("the-secret", Passed("found")))
    assert "the-secret" not in repr(vars(checks.checks))
    assert "found" in repr(vars(checks.checks))
