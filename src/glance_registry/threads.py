# SPDX-License-Identifier: Apache-2.0
"""Threads that compute must not keep the event loop from its core."""

import os
import sys
import threading

NICENESS = 10


def lower_priority() -> None:
    """Give this thread the processor only when the event loop's thread leaves it.

    For threads whose work is in C, without the interpreter's lock: if a thread holds the lock and is not run, the event
    loop waits. Only Linux has priorities for single threads (setpriority(2)).
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(os.getpriority(os.PRIO_PROCESS, thread), NICENESS))
