# SPDX-License-Identifier: Apache-2.0
"""The causes of answers 503 and 507: in the log, once for each cause, and never in the answer."""

from glance_registry.api.cross_site import SAFE
from glance_registry.api.dialect import Access, Route
from glance_registry.api.errors import status_of
from glance_registry.api.patience import Stopping
from glance_registry.api.request import Registry
from glance_registry.catalogue.causes import Database
from glance_registry.catalogue.outages import Outages
from glance_registry.model.errors import IdentityUnavailable, LimitsUnavailable, RegistryError, StoreUnavailable
from glance_registry.transfer.unified_limits import LIMITS

IDENTITY, CALLERS = "identity", "callers"
"""Kinds of outages: Keystone does not answer; too many callers, or no list of them."""

BYTES = "/file"
"""What the path of a download ends with."""

_NOWHERE = Database("")


def request_outages() -> Outages:
    """The outages of a process, told to the log."""
    return Outages("requests fail", "requests work again")


class Failures:
    """Logs outages, each with the request that failed first."""

    def __init__(self, outages: Outages) -> None:
        self._outages = outages
        self.clock = outages.clock

    def failed(self, error: RegistryError, route: Route | None, request_id: str, registry: Registry) -> None:
        """A request was answered with this error."""
        if status_of(error) < 500 or route is None or isinstance(error, Stopping):
            return
        database = registry.catalogue.database
        fields = {"request_id": request_id, "error": error.code, "message": str(error)}
        if isinstance(error, IdentityUnavailable):
            cause = _NOWHERE.cause(error)
            kind = IDENTITY if error.__cause__ is not None else CALLERS
        elif isinstance(error, StoreUnavailable):
            # Metadata may be served all the time: only what moves bytes tells that stores work again.
            cause, kind = _NOWHERE.cause(error), _kind_of_bytes(route)
            fields["store"] = error.store
        elif isinstance(error, LimitsUnavailable):
            cause, kind = _NOWHERE.cause(error), LIMITS
        else:
            cause, kind = database.cause(error), _kind(route)
            fields["database"] = database.name
        fields["cause"] = cause or str(error)
        self._outages.failed(kind, f"{error} {cause}", fields)

    def worked(self, route: Route, since: float) -> None:
        """A request succeeded."""
        if not self._outages.is_open:
            return
        kind = _kind(route)
        if route.takes_bytes or route.path.endswith(BYTES):
            self._outages.worked(_kind_of_bytes(route), since)
        for working in ("read", "write") if kind == "write" else (kind,):
            self._outages.worked(working, since)
        if route.access is not Access.OPEN:
            self._outages.worked(CALLERS, since)


def _kind_of_bytes(route: Route) -> str:
    return "download" if route.method in SAFE else "upload"


def _kind(route: Route) -> str:
    """Reads may work while writes do not, and both while a check of health fails."""
    if route.access is Access.OPEN:
        return route.path
    return "read" if route.method in SAFE else "write"
