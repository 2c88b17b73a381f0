# SPDX-License-Identifier: Apache-2.0
"""Which status may follow which, for clients that do not set it: every pair of them."""

from datetime import UTC, datetime

import pytest

from glance_registry.model.changes import Deactivate, Reactivate, apply
from glance_registry.model.contract import QUEENS
from glance_registry.model.errors import Conflict, Forbidden, Invalid
from glance_registry.model.image import Image
from glance_registry.model.status import TRANSITIONS, moved

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ALLOWED = {("queued", "active"), ("active", "deactivated"), ("deactivated", "active")} | {
    (status, "deleted") for status in TRANSITIONS if status != "deleted"
}


def image(status: str, **fields: str | None) -> Image:
    formats = {"disk_format": "raw", "container_format": "bare", **fields}
    return Image(id="i", status=status, created_at=NOW, updated_at=NOW, **formats)


def test_every_status_that_an_api_server_may_set_is_in_the_table() -> None:
    assert set(TRANSITIONS) == QUEENS.statuses


@pytest.mark.parametrize("after", TRANSITIONS)
@pytest.mark.parametrize("before", TRANSITIONS)
def test_a_status_follows_where_the_table_says_so(before: str, after: str) -> None:
    if (before, after) in ALLOWED:
        assert moved(image(before), after).status == after
    else:
        with pytest.raises(Conflict, match=before):
            moved(image(before), after)


@pytest.mark.parametrize("missing", ["disk_format", "container_format"])
def test_an_image_without_a_format_does_not_become_active(missing: str) -> None:
    with pytest.raises(Invalid, match=missing):
        moved(image("queued", **{missing: None}), "active")


@pytest.mark.parametrize("before", TRANSITIONS)
def test_only_an_active_image_is_deactivated_and_only_such_a_one_reactivated(before: str) -> None:
    for change, after in ((Deactivate(), "deactivated"), (Reactivate(), "active")):
        if before in ("active", "deactivated"):
            assert apply(image(before), [change], NOW).status == after
        else:
            with pytest.raises(Forbidden, match=before):
                apply(image(before), [change], NOW)
