# SPDX-License-Identifier: Apache-2.0
"""Mode context: an API server in front has found out who calls, and says so in headers.

Source: the registry protocol, section 3, identity. The headers of anybody else are a forgery.
"""

from collections.abc import Iterable

from glance_registry.api.identity import Identify
from glance_registry.api.identity.header import sole_header
from glance_registry.api.networks import is_within, read_networks
from glance_registry.api.request import Request
from glance_registry.model.access import ANONYMOUS, Caller, identified
from glance_registry.model.errors import Forbidden

_STATUS = "x-identity-status"
_USER = "x-user-id"
_PROJECTS = ("x-tenant-id", "x-project-id")
_ROLES = "x-roles"


def trust_headers(trusted: Iterable[str], writer_roles: Iterable[str]) -> Identify:
    """Believe the identity headers that come from these addresses or networks. Raises Invalid for a wrong one."""
    networks = read_networks(trusted, "[identity] trusted_addresses")
    writers = frozenset(role.lower() for role in writer_roles)

    async def identify(request: Request) -> Caller:
        if request.headers.get(_STATUS) is None:
            return ANONYMOUS
        if not is_within(request.client.host if request.client else "", networks):
            raise Forbidden("Identity headers are not accepted from this address.")
        # "X-Identity-Status: Confirmed (exactly)".
        if sole_header(request, _STATUS) != "Confirmed":
            return ANONYMOUS
        roles = frozenset(role.strip().lower() for role in (sole_header(request, _ROLES) or "").split(","))
        project = sole_header(request, _PROJECTS[0]) or sole_header(request, _PROJECTS[1])
        return identified(sole_header(request, _USER), project, roles - {""}, writers)

    return identify
