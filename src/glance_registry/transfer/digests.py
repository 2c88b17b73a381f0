# SPDX-License-Identifier: Apache-2.0
"""The digests of an image, computed while its bytes stream past."""

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import Executor
from typing import NamedTuple, Protocol


class DigestValues(NamedTuple):
    """Hexadecimal digests of all bytes."""

    checksum: str
    """MD5, which clients of old compare."""
    os_hash_algo: str
    os_hash_value: str


class Digesting(Protocol):
    """Takes an image's bytes in their order."""

    async def update(self, data: bytes) -> None: ...


class NoDigests:
    """Computes nothing: the bytes are only a part of an image."""

    async def update(self, data: bytes) -> None: ...


class Digests:
    """Both digests of an image. Each has a thread to itself: hashlib releases the interpreter's lock."""

    def __init__(self, algorithm: str, threads: Executor, look: Callable[[bytes], None]) -> None:
        """`look` sees every chunk after the second digest has: that is the quicker one."""
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._secure = hashlib.new(algorithm)
        self._threads = threads
        self._look = look

    async def update(self, data: bytes) -> None:
        """Add the next bytes. Raises what `look` raises."""
        loop = asyncio.get_running_loop()
        md5 = loop.run_in_executor(self._threads, self._md5.update, data)
        try:
            await loop.run_in_executor(self._threads, self._update_secure, data)
        finally:
            await md5

    def _update_secure(self, data: bytes) -> None:
        self._secure.update(data)
        self._look(data)

    def values(self) -> DigestValues:
        return DigestValues(self._md5.hexdigest(), self._secure.name, self._secure.hexdigest())
