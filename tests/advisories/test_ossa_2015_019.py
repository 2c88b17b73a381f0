# SPDX-License-Identifier: Apache-2.0
"""OSSA-2015-019 (CVE-2015-5251): a user changed an image's status by the header x-image-meta-status.

The registry's own API lets its callers set a status, in the body: they are API servers. So a header never sets
anything, and whoever is neither the owner nor a writer sets no status at all.
"""

import pytest
from tests.conftest import Caller, Client

HEADERS = {
    "x-image-meta-status": "queued",
    "X-Image-Meta-Status": "queued",
    "x-image-meta-name": "forged",
    "x-image-meta-owner": "forged",
    "x-image-meta-is_public": "True",
    "x-image-meta-location": "file:///forged",
    "x-image-meta-deleted": "True",
    "x-image-meta-protected": "True",
    "x-image-meta-property-forged": "1",
    "x-status": "queued",
    "x-glance-registry-status": "queued",
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_sets_nothing_of_an_image(sqlite_context: Client, header: str) -> None:
    owner = sqlite_context.caller("owner")
    forger = Caller(sqlite_context, {**owner.headers, header: HEADERS[header]})
    fields = {"status": "active", "is_public": False, "name": "i", "location": "file:///i"}
    unlike = ("id", "created_at", "updated_at")

    plain, forged = owner.add(**fields), forger.add(**fields)
    changed = forger.put(f"/images/{forged['id']}", {"image": {"min_ram": 0}}).json()["image"]

    assert [{**image, **dict.fromkeys(unlike)} for image in (forged, changed)] == [
        {**plain, **dict.fromkeys(unlike)}
    ] * 2


def test_only_the_owner_and_writers_set_a_status(context: Client) -> None:
    owner = context.caller("owner")
    image = owner.add(status="active", is_public=True)
    body = {"image": {"status": "queued"}}

    for caller in (context.caller("stranger", "member"), context.caller(None, "member"), Caller(context, {})):
        assert caller.put(f"/images/{image['id']}", body).status_code == 403
    assert owner.show(image["id"]) == image

    writer = context.caller("services", "service")
    assert writer.put(f"/images/{image['id']}", body).json()["image"]["status"] == "queued"


def test_a_status_is_one_of_the_contract_s(queens: Client) -> None:
    image = queens.add()

    for status in ("", None, "ACTIVE", "unheard", 7):
        assert queens.put(f"/images/{image['id']}", {"image": {"status": status}}).status_code == 400
    assert queens.show(image["id"]) == image


@pytest.mark.parametrize("status", ["active", "deactivated", "deleted"])
def test_no_body_of_the_images_api_sets_a_status(sqlite_context: Client, status: str) -> None:
    for caller in (sqlite_context.caller("owner"), sqlite_context.caller("admins", "admin")):
        image = caller.register()
        operation = {"op": "replace", "path": "/status", "value": status}

        assert caller.post("/v2/images", {"status": status}).status_code == 403
        assert caller.patch(image["id"], operation).status_code == 403
        assert caller.patch(image["id"], {"replace": "/status", "value": status}, version="2.0").status_code == 403
        assert caller.get(image["self"]).json() == image
