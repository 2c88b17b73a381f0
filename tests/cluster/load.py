# SPDX-License-Identifier: Apache-2.0
"""Clients that write while servers fail, and that remember what they were told."""

import asyncio
import itertools
import time
from collections import Counter
from typing import Any
from uuid import uuid4

import httpx
from msgspec import Struct, field

PATIENCE_SECONDS = 75
"""More than the registry takes for any answer: a client that waits longer hangs."""

UNKNOWN = "not known"
"""What the registry says when it cannot tell whether a write was kept."""


class History(Struct):
    """What one image's only client was told of it."""

    image_id: str
    created: bool = False
    updates: int = 0
    """Updates that were acknowledged."""
    unknown: int = 0
    """Writes of which nobody knows."""
    last: int = 0
    """The highest step that was acknowledged."""
    allowed: set[int] = field(default_factory=set)
    """The steps that the image may be at: the last acknowledged one, and later ones of which nobody knows."""


class Load:
    """Clients, each with images of its own, spread over the registry's processes."""

    def __init__(self, urls: list[str], clients: int) -> None:
        self.name = uuid4().hex[:8]
        """What the names of all its images begin with."""
        self._urls = urls
        self._clients = clients
        self._running = True
        self._http = httpx.AsyncClient(timeout=PATIENCE_SECONDS)
        self.histories: dict[str, History] = {}
        self.nameless: Counter[str] = Counter()
        """For each name given without an id: how many images of that name there may be at most."""
        self.nameless_kept: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []
        """Answers that no client should ever get."""
        self.acknowledged = 0
        self.longest_pause = 0.0
        """Seconds between two acknowledged writes."""
        self._last = time.monotonic()
        self.reads_are_new = True
        """Whether a client may rely on reading what it wrote."""

    async def __aenter__(self) -> "Load":
        self._tasks = [asyncio.create_task(self._work(number)) for number in range(self._clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running = False
        await asyncio.gather(*self._tasks)
        await self._http.aclose()

    async def more(self, count: int) -> None:
        """Returns when this many more writes were acknowledged."""
        wanted = self.acknowledged + count
        while self.acknowledged < wanted:
            await asyncio.sleep(0.02)
            for task in self._tasks:
                assert not task.done(), "a client gave up: " + str(task)

    async def _work(self, client: int) -> None:
        for number in itertools.count():
            history = History(f"{self.name}-{client}-{number}")
            self.histories[history.image_id] = history
            await self._create(history)
            for step in range(1, 6):
                if history.created and self._running:
                    await self._update(history, step)
            if self._running:
                await self._create_nameless(f"nameless-{self.name}-{client}-{number}")
            if not self._running:
                return

    async def _create(self, history: History) -> None:
        """Until it is known to be there: the id makes that safe."""
        while self._running:
            body = {"id": history.image_id, "name": history.image_id, "disk_format": "raw", "container_format": "bare",
                    "properties": {"step": "0"}}  # fmt: skip
            answer = await self._send("POST", "/images", body, taken=bool(history.unknown))
            if answer.status_code in (200, 409):
                history.created = True
                history.allowed = {0}
                return
            history.unknown += UNKNOWN in answer.text

    async def _create_nameless(self, name: str) -> None:
        """Once: who gave no id cannot repeat it."""
        answer = await self._send("POST", "/images", {"name": name, "disk_format": "raw", "container_format": "bare"})
        self.nameless[name] = int(answer.status_code == 200 or UNKNOWN in answer.text)
        if answer.status_code == 200:
            self.nameless_kept.add(name)

    async def _update(self, history: History, step: int) -> None:
        answer = await self._send("PUT", f"/images/{history.image_id}", {"properties": {"step": str(step)}})
        if answer.status_code == 200:
            history.updates += 1
            history.allowed = {step}
            await self._look(history)
        elif UNKNOWN in answer.text:
            history.unknown += 1
            history.allowed.add(step)

    async def _look(self, history: History) -> None:
        """A client reads what it wrote, from whichever process."""
        answer = await self._send("GET", f"/images/{history.image_id}")
        if answer.status_code == 200:
            step = int(answer.json()["image"]["properties"]["step"])
            if self.reads_are_new and step not in history.allowed:
                self.wrong.append(f"{history.image_id} is at step {step} after {sorted(history.allowed)}")

    async def _send(self, method: str, path: str, image: Any = None, *, taken: bool = False) -> httpx.Response:
        """A request, to the processes in turn; after a refusal the client waits a little."""
        await asyncio.sleep(0.01)  # The servers share this machine with what they serve.
        url = self._urls[sum(self.statuses.values()) % len(self._urls)]
        body = None if image is None else {"image": {"is_public": True, **image}}
        answer = await self._http.request(method, url + path, json=body)
        self.statuses[answer.status_code] += 1
        if method != "GET" and answer.status_code == 200:
            self.acknowledged += 1
            now = time.monotonic()
            self.longest_pause, self._last = max(self.longest_pause, now - self._last), now
        if answer.status_code == 503:
            if not answer.headers.get("retry-after", "").isdigit():
                self.wrong.append(f"503 without Retry-After: {answer.text}")
            await asyncio.sleep(0.2)
        elif answer.status_code == 404 and not self.reads_are_new:
            pass  # A server that is no longer the primary does not know the newest images.
        elif answer.status_code != 200 and not (taken and answer.status_code == 409):
            self.wrong.append(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer
