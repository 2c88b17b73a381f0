# SPDX-License-Identifier: Apache-2.0
"""Who is calling, and what a caller may do. The only place where these rules stand.

Source: the registry protocol, section 3, identity and members.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from glance_registry.model.contract import API_SERVERS, Contract
from glance_registry.model.errors import Forbidden, Invalid, NotFound
from glance_registry.model.image import Image
from glance_registry.model.member import Member
from glance_registry.model.status import DEACTIVATED

ADMIN_ROLE = "admin"
MAX_PROJECT_LENGTH = 255


class Caller(Struct, frozen=True, kw_only=True):
    """Somebody who sends requests.

    An admin sees every image and may ask for deleted and foreign ones; a writer changes every image (the
    API servers that keep their metadata here); anybody else acts for a project. For whom a service such as Nova
    or Cinder sends the request, `service` is true: the rights are the caller's, with a few more about locations.
    """

    user: str | None = None
    project: str | None = None
    roles: frozenset[str] = frozenset()
    admin: bool = False
    writer: bool = False
    service: bool = False

    @property
    def anonymous(self) -> bool:
        """Nobody known: may read public images and nothing else."""
        return not (self.admin or self.writer or self.user or self.project)

    def owns(self, image: Image) -> bool:
        return self.project is not None and image.owner == self.project


ANYONE_IS_ADMIN = Caller(admin=True, writer=True)
"""The caller when there is no identity mode: whoever reaches the port is trusted with everything."""

ANONYMOUS = Caller()


def identified(user: str | None, project: str | None, roles: frozenset[str], writer_roles: frozenset[str]) -> Caller:
    """The caller whom an identity mode has found; roles are in lower case.

    Raises Invalid when the project's id is too long to be the owner of an image.
    """
    if project and len(project) > MAX_PROJECT_LENGTH:
        raise Invalid(f"The project's id is longer than {MAX_PROJECT_LENGTH} characters.")
    return Caller(
        user=user or None,
        project=project or None,
        roles=roles,
        admin=ADMIN_ROLE in roles,
        writer=bool(roles & writer_roles),
    )


def check_may_write(caller: Caller) -> None:
    """Raise Forbidden for a caller that may change nothing at all: "without identity: read-only".

    A caller without a project owns nothing, and a new image would have no owner.
    """
    if not caller.writer and caller.project is None:
        raise Forbidden("Read-only access: changing images needs an identity with a project.")


def check_may_change(caller: Caller, image: Image) -> None:
    """Raise unless the caller may change the image: Forbidden when it is public, NotFound when it is not.

    "An image of another tenant: 404 when private, 403 on change when public."
    """
    if may_modify(caller, image):
        return
    if image.is_public:
        raise Forbidden("Access was denied to this resource.")
    raise NotFound("Image not found")


def check_may_share(caller: Caller, image: Image, own_membership: Member | None) -> None:
    """Raise Forbidden unless the caller may say who the image's members are.

    "Sharing needs admin, ownership, or membership with can_share."
    """
    if may_modify(caller, image) or (own_membership is not None and own_membership.can_share):
        return
    raise Forbidden("No permission to share that image")


def permitted(caller: Caller, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of an update that the caller may set: only a writer gives an image to another project."""
    return fields if caller.writer else {name: value for name, value in fields.items() if name != "owner"}


def owner_of_new(caller: Caller, given: str | None) -> str | None:
    """Whose a new image is: the caller's project's, unless a writer says otherwise."""
    return given if caller.writer and given is not None else caller.project


def may_modify(caller: Caller, image: Image) -> bool:
    """Whether an image that the caller sees is one that it may change."""
    return caller.writer or caller.owns(image)


def check_may_modify(caller: Caller, image: Image) -> None:
    """Raise Forbidden unless an image that the caller sees is one that it may change."""
    if not may_modify(caller, image):
        raise Forbidden("You are not permitted to modify this image.")


def may_publicize(caller: Caller) -> bool:
    """Whether the caller may make an image public in the Images API."""
    return caller.writer or caller.admin


def may_see_locations(caller: Caller) -> bool:
    """Whether the caller is told where the bytes of every image that it sees lie."""
    return caller.writer or caller.admin


def check_may_see_locations(caller: Caller) -> None:
    """Raise Forbidden unless the caller may read the locations of every image that it sees.

    A service that calls for a user may do so, too.
    """
    if not (may_see_locations(caller) or caller.service):
        raise Forbidden("Only API servers, services and admins are told where an image's bytes lie.")


def check_may_choose_stores(caller: Caller) -> None:
    """Raise Forbidden unless the caller may say in which stores the bytes of an active image are: an admin."""
    if not caller.admin:
        raise Forbidden("Only admins take an image's bytes from a store.")


def may_name_stores(caller: Caller) -> bool:
    """Whether the caller may say that bytes lie in a store, which compute hosts read with rights of their own.

    A service may, for a caller who may change the image: Nova and Cinder have put the bytes there themselves.
    """
    return caller.writer or caller.service


def may_read_locations(caller: Caller, image: Image, contract: Contract) -> bool:
    """Whether the Registry API shows this caller the locations of an image that it may see.

    A location may hold a password. Source: the registry protocol, section 3, Locations.
    """
    if contract.clients == API_SERVERS:
        return caller.admin or image.status != DEACTIVATED
    return may_see_locations(caller)


def check_may_decide(caller: Caller, member_id: str) -> None:
    """Raise Forbidden unless the caller may accept or reject a membership: "only the member sets status"."""
    if not (caller.writer or caller.project == member_id):
        raise Forbidden("Only the member itself accepts or rejects an image.")


def check_may_invite(caller: Caller, image: Image) -> None:
    """Raise Forbidden unless the caller may add and remove members: "only the owner adds and removes"."""
    if not may_modify(caller, image):
        raise Forbidden("Only the owner of an image adds and removes its members.")
