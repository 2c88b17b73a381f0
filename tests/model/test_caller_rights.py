# SPDX-License-Identifier: Apache-2.0
"""What a caller may do: one table of callers and acts (registry protocol, section 3, identity and members)."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from glance_registry.model import access
from glance_registry.model.access import ANONYMOUS, ANYONE_IS_ADMIN, Caller
from glance_registry.model.errors import Forbidden, Invalid, NotFound
from glance_registry.model.image import PUBLIC, Image

NOON = datetime(2011, 4, 15, 12, tzinfo=UTC)
PRIVATE = Image(id="one", created_at=NOON, updated_at=NOON, owner="anna")
OPEN = Image(id="two", created_at=NOON, updated_at=NOON, owner="anna", visibility=PUBLIC)
NOBODYS = Image(id="three", created_at=NOON, updated_at=NOON)

ANNA, BEN = Caller(project="anna"), Caller(project="ben")
ADMIN, WRITER = Caller(project="ops", admin=True), Caller(writer=True)

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
