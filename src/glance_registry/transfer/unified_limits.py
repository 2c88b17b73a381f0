# SPDX-License-Identifier: Apache-2.0
"""Keystone's unified limits: how much a project may have, as its cloud's administrators have written down.

oslo.limit asks Keystone, in threads, with the login in section [oslo_limit]. It tells the limits alone. What a project
has is counted in our tables, in the transaction that reserves more, so that two uploads together cannot pass a limit.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from glance_registry.catalogue.outages import Outages
from glance_registry.model.errors import Invalid, LimitsUnavailable
from glance_registry.model.limits import OwnerLimits

LIMITS = "limits"
"""The kind of outage: Keystone does not tell limits."""

SECTION = "oslo_limit"
SERVICE_TYPE = "image"
"""The program's type in Keystone's catalogue, unless [oslo_limit] says otherwise."""

THREADS = 4
CACHE_SECONDS = 30
"""For so long a limit that was changed in Keystone may still be the old one."""
MAX_CACHED = 1_000
"""Projects."""
MAX_LOOKUPS = 200
"""That run or wait for a thread."""
ANSWER_SECONDS = 10
"""For one answer of Keystone. Without it a thread might wait for ever."""
MAX_WAIT_SECONDS = 30
"""How long a request waits for its limits."""

SIZE_TOTAL, COUNT_TOTAL, COUNT_UPLOADING = "image_size_total", "image_count_total", "image_count_uploading"
"""The names of Glance: MiB, images, uploads at the same time."""
MEBIBYTE = 1_048_576

_creation = threading.Lock()
"""oslo.limit has one configuration and one connection for a process: nobody else may set them meanwhile."""


class UnifiedLimits:
    """The limits of one process, cached for a short time."""

    def __init__(
        self, config_files: Sequence[str], outages: Outages, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Read the section. Raises Invalid if oslo.limit or a setting is missing; Keystone is asked later."""
        self._config = _load(config_files)
        self._outages = outages
        self._clock = clock
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="limits")
        self._enforcer: Any = None
        self._lookups: dict[str, asyncio.Future[OwnerLimits]] = {}
        self._cached: dict[str, tuple[float, OwnerLimits]] = {}

    async def of(self, owner: str) -> OwnerLimits:
        """The limits of a project. Raises LimitsUnavailable."""
        until, cached = self._cached.get(owner, (float("-inf"), OwnerLimits()))
        if self._clock() < until:
            return cached
        lookup = self._lookups.get(owner)
        if lookup is None:
            if len(self._lookups) >= MAX_LOOKUPS:
                raise LimitsUnavailable("Too many projects wait for Keystone to tell their limits; try again later.")
            lookup = asyncio.get_running_loop().run_in_executor(self._threads, self._ask, owner)
            self._lookups[owner] = lookup
            lookup.add_done_callback(partial(self._finish, owner, self._clock()))
        try:
            async with asyncio.timeout(MAX_WAIT_SECONDS):
                # Shielded, because others may wait for the same answer when this client has gone.
                return await asyncio.shield(lookup)
        except TimeoutError:
            raise LimitsUnavailable("Keystone did not tell the project's limits in time; try again later.") from None

    def close(self) -> None:
        """Start no more look-ups. Those that run end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _finish(self, owner: str, asked_at: float, lookup: asyncio.Future[OwnerLimits]) -> None:
        del self._lookups[owner]
        if lookup.cancelled() or lookup.exception() is not None:
            return
        self._cached.pop(owner, None)
        self._cached[owner] = (asked_at + CACHE_SECONDS, lookup.result())
        if len(self._cached) > MAX_CACHED:
            # The first key of a dictionary is the oldest one.
            del self._cached[next(iter(self._cached))]

    def _ask(self, owner: str) -> OwnerLimits:
        """Ask Keystone; blocks."""
        since = self._outages.clock()
        try:
            enforcer = self._connected()
            limits = {**dict(enforcer.get_registered_limits(None)), **dict(enforcer.get_project_limits(owner, None))}
        except Exception as error:
            error.add_note(f"{type(error).__name__}: {error}")
            raise LimitsUnavailable("Keystone does not tell the project's limits now; try again later.") from error
        self._outages.worked(LIMITS, since)
        size = _limit(limits, SIZE_TOTAL)
        return OwnerLimits(
            images_per_owner=_limit(limits, COUNT_TOTAL),
            bytes_per_owner=None if size is None else size * MEBIBYTE,
            uploads_per_owner=_limit(limits, COUNT_UPLOADING),
        )

    def _connected(self) -> Any:
        """oslo.limit's enforcer, which is made when Keystone answers for the first time."""
        from oslo_limit import limit

        with _creation:
            if self._enforcer is None:
                limit.CONF = self._config
                limit._SDK_CONNECTION = None
                self._enforcer = limit.Enforcer(_count_nothing, cache=False)
            return self._enforcer


def _limit(limits: Mapping[str, int], name: str) -> int | None:
    """One limit. "If there are no registered limits for a given resource type", it is zero (oslo.limit)."""
    found = limits.get(name, 0)
    return None if found < 0 else found


def _count_nothing(project: str | None, names: Any) -> dict[str, int]:  # noqa: ARG001 - what oslo.limit calls
    """The usage that oslo.limit would compare with: it is not asked to."""
    return {}


def _load(config_files: Sequence[str]) -> Any:
    """The section as oslo.limit reads it, from our files and the environment."""
    try:
        from keystoneauth1 import loading
        from oslo_limit import opts
    except ImportError:
        raise Invalid(
            "[limits] use_keystone_limits needs oslo.limit: pip install 'glance-registry[keystone]'."
        ) from None
    from oslo_config import cfg

    # These libraries log every failure; the log of requests has the cause once.
    for name in ("keystoneauth", "oslo_limit", "openstack"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    # Our own object, so that oslo.config's global one does not change.
    config = cfg.ConfigOpts()
    try:
        config(args=[], project="glance-registry", default_config_files=list(config_files), default_config_dirs=[])
        loading.register_session_conf_options(config, SECTION)
        loading.register_adapter_conf_options(config, SECTION, include_deprecated=False)
        loading.register_auth_conf_options(config, SECTION)
        config.register_opts(opts._options, group=SECTION)
        config.set_default("timeout", ANSWER_SECONDS, group=SECTION)
        config.set_default("endpoint_service_type", SERVICE_TYPE, group=SECTION)
        login = config[SECTION].auth_section or SECTION
        if login != SECTION:
            loading.register_auth_conf_options(config, login)
        if not config[login].auth_type:
            raise Invalid(f"[limits] use_keystone_limits needs auth_type in section [{login}].")
        loading.load_auth_from_conf_options(config, SECTION)
    except (cfg.NoSuchOptError, cfg.TemplateSubstitutionError):
        # Their message has the letters after the dollar, which may be part of a password.
        raise Invalid(f"[{SECTION}]: a value cannot be read; '$' names an option, '$$' is a dollar.") from None
    except Invalid:
        raise
    except Exception as error:
        raise Invalid(f"[{SECTION}] cannot be used: {str(error).strip()}") from None
    return config
