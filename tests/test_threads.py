# SPDX-License-Identifier: Apache-2.0
"""Threads that compute run at a lower priority than the event loop's."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from glance_registry.threads import NICENESS, lower_priority


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities for single threads")
def test_only_the_thread_itself_gets_the_lower_priority() -> None:
    def look() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    own = look()
    with ThreadPoolExecutor(1, initializer=lower_priority) as threads:
        assert threads.submit(look).result() == max(own, NICENESS)

    assert look() == own
