# SPDX-License-Identifier: Apache-2.0
"""What a caller may do: one table of callers and acts (registry protocol, section 3, identity and members)."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from glance_registry.model import access
from glance_registry.model.access import ANONYMOUS, ANYONE_IS_ADMIN, Caller
from glance_registry.model.contract import API_SERVERS, QUEENS, USERS
from glance_registry.model.errors import Forbidden, Invalid, NotFound
from glance_registry.model.image import PUBLIC, Image
from glance_registry.model.member import Member

NOON = datetime(2011, 4, 15, 12, tzinfo=UTC)
PRIVATE = Image(id="one", created_at=NOON, updated_at=NOON, owner="anna")
OPEN = Image(id="two", created_at=NOON, updated_at=NOON, owner="anna", visibility=PUBLIC)
DEACTIVATED = replace(PRIVATE, status="deactivated")
NOBODYS = Image(id="three", created_at=NOON, updated_at=NOON)

ANNA, BEN = Caller(project="anna"), Caller(project="ben")
ADMIN, WRITER = Caller(project="ops", admin=True), Caller(writer=True)
NOVA = Caller(project="ben", service=True)
USERS_CALL, SERVERS_CALL = replace(QUEENS, clients=USERS), replace(QUEENS, clients=API_SERVERS)

ACTS: dict[str, Callable[[Caller], None]] = {
    "write": access.check_may_write,
    "change a private image of anna": lambda caller: access.check_may_change(caller, PRIVATE),
    "change a public image of anna": lambda caller: access.check_may_change(caller, OPEN),
    "change an image of nobody": lambda caller: access.check_may_modify(caller, NOBODYS),
    "modify an image of anna": lambda caller: access.check_may_modify(caller, PRIVATE),
    "share an image of anna": lambda caller: access.check_may_share(caller, PRIVATE, None),
    "invite to an image of anna": lambda caller: access.check_may_invite(caller, PRIVATE),
    "answer for ben": lambda caller: access.check_may_decide(caller, "ben"),
}


@pytest.mark.parametrize(
    ("act", "allowed", "refusal"),
    [
        ("write", {"anna", "ben", "admin", "writer"}, Forbidden),
        ("change a private image of anna", {"anna", "writer"}, NotFound),
        ("change a public image of anna", {"anna", "writer"}, Forbidden),
        ("change an image of nobody", {"writer"}, Forbidden),
        ("modify an image of anna", {"anna", "writer"}, Forbidden),
        ("share an image of anna", {"anna", "writer"}, Forbidden),
        ("invite to an image of anna", {"anna", "writer"}, Forbidden),
        ("answer for ben", {"ben", "writer"}, Forbidden),
    ],
)
def test_an_act_is_allowed_to_these_callers_alone(act: str, allowed: set[str], refusal: type[Exception]) -> None:
    callers = {"anonymous": ANONYMOUS, "anna": ANNA, "ben": BEN, "admin": ADMIN, "writer": WRITER}
    for name, caller in callers.items():
        if name in allowed:
            ACTS[act](caller)
        else:
            with pytest.raises(refusal):
                ACTS[act](caller)


QUESTIONS: dict[str, Callable[[Caller], bool]] = {
    "publish an image": access.may_publicize,
    "see where bytes lie": access.may_see_locations,
    "name a store": access.may_name_stores,
    "modify an image of anna": lambda caller: access.may_modify(caller, PRIVATE),
    "read locations where users call": lambda caller: access.may_read_locations(caller, PRIVATE, USERS_CALL),
    "read locations where API servers call": lambda caller: access.may_read_locations(caller, PRIVATE, SERVERS_CALL),
    "… of a deactivated image": lambda caller: access.may_read_locations(caller, DEACTIVATED, SERVERS_CALL),
}


@pytest.mark.parametrize(
    ("question", "allowed"),
    [
        ("publish an image", {"admin", "writer"}),
        ("see where bytes lie", {"admin", "writer"}),
        ("name a store", {"writer", "nova"}),
        ("modify an image of anna", {"anna", "writer"}),
        ("read locations where users call", {"admin", "writer"}),
        ("read locations where API servers call", {"anonymous", "anna", "ben", "admin", "writer", "nova"}),
        ("… of a deactivated image", {"admin"}),
    ],
)
def test_a_right_is_these_callers_alone(question: str, allowed: set[str]) -> None:
    callers = {"anonymous": ANONYMOUS, "anna": ANNA, "ben": BEN, "admin": ADMIN, "writer": WRITER, "nova": NOVA}

    assert {name for name, caller in callers.items() if QUESTIONS[question](caller)} == allowed


@pytest.mark.parametrize(("caller", "allowed"), [(ANNA, False), (ADMIN, True), (WRITER, True), (NOVA, True)])
def test_a_service_is_told_where_the_bytes_of_its_user_s_images_lie(caller: Caller, allowed: bool) -> None:
    with nullcontext() if allowed else pytest.raises(Forbidden, match="are told where"):
        access.check_may_see_locations(caller)


@pytest.mark.parametrize(("can_share", "allowed"), [(True, True), (False, False)])
def test_a_member_shares_an_image_if_it_may(can_share: bool, allowed: bool) -> None:
    with nullcontext() if allowed else pytest.raises(Forbidden, match="No permission to share"):
        access.check_may_share(BEN, PRIVATE, Member(member_id="ben", can_share=can_share))


@pytest.mark.parametrize("caller", [ANONYMOUS, Caller(user="u"), ADMIN])
def test_who_acts_for_no_project_owns_nothing(caller: Caller) -> None:
    assert not caller.owns(NOBODYS)


@pytest.mark.parametrize(
    ("caller", "anonymous"),
    [(ANONYMOUS, True), (Caller(user="u"), False), (ANNA, False), (ADMIN, False), (ANYONE_IS_ADMIN, False)],
)
def test_who_is_anonymous(caller: Caller, anonymous: bool) -> None:
    assert caller.anonymous == anonymous


@pytest.mark.parametrize(
    ("roles", "admin", "writer"),
    [(set(), False, False), ({"admin"}, True, False), ({"service"}, False, True), ({"admin", "service"}, True, True)],
)
def test_roles_make_admins_and_writers(roles: set[str], admin: bool, writer: bool) -> None:
    caller = access.identified("", "", frozenset(roles), frozenset({"service"}))

    assert (caller.admin, caller.writer, caller.user, caller.project) == (admin, writer, None, None)


def test_a_project_that_cannot_own_an_image_is_refused() -> None:
    assert access.identified("u", "p" * 255, frozenset(), frozenset()).project == "p" * 255
    with pytest.raises(Invalid):
        access.identified("u", "p" * 256, frozenset(), frozenset())


@pytest.mark.parametrize(
    ("caller", "given", "owner"),
    [(ANNA, None, "anna"), (ANNA, "ben", "anna"), (WRITER, "ben", "ben"), (WRITER, None, None)],
)
def test_only_a_writer_says_whose_an_image_is(caller: Caller, given: str | None, owner: str | None) -> None:
    fields = {"owner": given, "name": "x"}

    assert access.owner_of_new(caller, given) == owner
    assert access.permitted(caller, fields) == (fields if caller.writer else {"name": "x"})
