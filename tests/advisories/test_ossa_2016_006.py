# SPDX-License-Identifier: Apache-2.0
"""OSSA-2016-006 (CVE-2016-0757): the bytes of an active image replaced through its locations.

Here an owner's API server says where an image's bytes are, in the owner's name: the registry cannot tell the two
apart, so its listener is for API servers alone. What it can do: nobody else changes a location, and no update
that does not say so. In the Images API (OSSN-0065, OSSN-0090) an active image's bytes stay what and where they are,
but for API servers and admins.
"""

import pytest
from tests.conftest import Caller, Client
from tests.options import make_settings

FORGED = {"location": "file:///forged", "location_data": [{"url": "file:///forged"}]}


@pytest.mark.parametrize("change", [FORGED, {**FORGED, "location": None}, {"location": "file:///forged"}])
@pytest.mark.parametrize("is_public", [True, False])
def test_only_the_owner_and_writers_say_where_an_image_s_bytes_are(
    context: Client, change: dict[str, object], is_public: bool
) -> None:
    owner = context.caller("owner")
    image = owner.add(status="active", is_public=is_public, location="file:///i", checksum="c" * 32)
    owner.put(f"/images/{image['id']}/members/sharer", {"member": {"can_share": True}})

    for caller in (context.caller("stranger"), context.caller("sharer"), context.caller(None), Caller(context, {})):
        assert caller.put(f"/images/{image['id']}", {"image": change}).status_code in (403, 404)
    assert owner.show(image["id"]) == image


def test_an_upload_that_lost_the_race_changes_no_location(context: Client) -> None:
    owner = context.caller("owner")
    image = owner.add(status="active", location="file:///i")

    late = owner.put(f"/images/{image['id']}", {"image": {**FORGED, "status": "active"}, "from_state": "saving"})

    assert late.status_code == 409
    assert owner.show(image["id"]) == image


PLACE = {
    "url": "https://images.test/i",
    "metadata": {},
    "validation_data": {"checksum": "0" * 32, "os_hash_algo": "sha256", "os_hash_value": "0" * 64, "size": 5},
}
OTHER = {"url": "https://images.test/forged", "metadata": {}}


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "add", "path": "/locations/-", "value": OTHER}],
        [{"op": "add", "path": "/locations/0", "value": OTHER}],
        [{"op": "replace", "path": "/locations", "value": [OTHER]}],
        [{"op": "replace", "path": "/locations", "value": []}],
        [{"op": "remove", "path": "/locations/0"}],
        [{"op": "add", "path": "/locations/-", "value": OTHER}, {"op": "remove", "path": "/locations/0"}],
        [{"op": "replace", "path": "/checksum", "value": "f" * 32}],
        [{"op": "replace", "path": "/status", "value": "queued"}],
    ],
)
def test_an_owner_does_not_replace_the_bytes_of_its_active_image(
    sqlite_database: str, operations: list[dict[str, object]]
) -> None:
    client = Client(make_settings(sqlite_database, identity__mode="context", images__show_multiple_locations=True))
    owner = client.caller("owner")
    image = owner.register()
    before = owner.patch(image["id"], {"op": "add", "path": "/locations/-", "value": PLACE}).json()

    answer = owner.patch(image["id"], *operations)
    called = owner.post(image["self"] + "/locations", OTHER)

    assert (answer.status_code, called.status_code) == (403, 409)
    assert before["status"] == "active"
    assert owner.get(image["self"]).json() == before
    client.close()
