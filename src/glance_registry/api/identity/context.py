# SPDX-License-Identifier: Apache-2.0
"""Mode context: an API server in front identifies the caller and sends headers.

Source: the registry protocol, section 3, identity. Headers from other addresses are refused.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from glance_registry.api.identity import Identify
from glance_registry.api.identity.header import sole_header
from glance_registry.api.networks import is_within, read_networks
from glance_registry.api.request import Request
from glance_registry.model.access import ANONYMOUS, Caller, identified
from glance_registry.model.errors import Forbidden, Unauthorized

_STATUS = "x-identity-status"
_USER = "x-user-id"
_PROJECTS = ("x-tenant-id", "x-project-id")
_ROLES = "x-roles"
_SERVICE_STATUS = "x-service-identity-status"
_SERVICE_ROLES = "x-service-roles"

CHALLENGE = 'Context realm="glance-registry"'
"""A 401 must have a challenge (RFC 9110, section 15.5.2); only the server in front knows the real one."""


def trust_headers(
    trusted: Iterable[str], writer_roles: Iterable[str], service_roles: Iterable[str] = (), *, anonymous: bool = True
) -> Identify:
    """Accept identity headers from these addresses or networks.

    Raises Invalid for a malformed address. `anonymous`: serve requests without an identity; otherwise they are 401.
    """
    networks = read_networks(trusted, "[identity] trusted_addresses")
    writers = frozenset(role.lower() for role in writer_roles)
    services = frozenset(role.lower() for role in service_roles)

    def without_identity() -> Caller:
        if not anonymous:
            raise Unauthorized("This registry requires an identity, which the server in front of it adds.", CHALLENGE)
        return ANONYMOUS

    async def identify(request: Request) -> Caller:
        if request.headers.get(_STATUS) is None:
            return without_identity()
        if not is_within(request.address, networks):
            raise Forbidden("Identity headers are not accepted from this address.")
        # "X-Identity-Status: Confirmed (exactly)".
        if sole_header(request, _STATUS) != "Confirmed":
            return without_identity()
        roles = _read_roles(request, _ROLES)
        project = sole_header(request, _PROJECTS[0]) or sole_header(request, _PROJECTS[1])
        caller = identified(sole_header(request, _USER), project, roles, writers)
        return replace(caller, service=True) if _is_sent_for_user(request, services) else caller

    return identify


def _is_sent_for_user(request: Request, service_roles: frozenset[str]) -> bool:
    """Whether a service with one of these roles sends the request for its user.

    Raises Unauthorized if the server in front says that the service token is invalid.
    """
    status = sole_header(request, _SERVICE_STATUS)
    if status is None:
        return False
    if status != "Confirmed":
        raise Unauthorized("The service token is not valid or has expired.", CHALLENGE)
    return bool(_read_roles(request, _SERVICE_ROLES) & service_roles)


def _read_roles(request: Request, name: str) -> frozenset[str]:
    roles = (sole_header(request, name) or "").split(",")
    return frozenset(role.strip().lower() for role in roles) - {""}
