# SPDX-License-Identifier: Apache-2.0
"""How many images a project may own."""

from collections.abc import Iterator

import pytest
from tests.conftest import Client

from glance_registry.settings import Settings

V2 = {"disk_format": "raw", "container_format": "bare"}
V1 = {"image": {**V2, "is_public": False}}
FULL = "Project p1 has 2 images, as many as it may have: delete one first."


@pytest.fixture
def limited(database: str) -> Iterator[Client]:
    client = Client(Settings(database=database, identity_mode="context", most_images=2))
    yield client
    client.close()


@pytest.mark.parametrize(("path", "body"), [("/images", V1), ("/v2/images", V2)], ids=["registry", "v2"])
def test_a_project_that_has_all_its_images_may_have_another_when_one_is_gone(
    limited: Client, path: str, body: dict[str, object]
) -> None:
    owner = limited.caller("p1")
    made = [owner.post(path, body) for _ in range(2)]
    first = (made[0].json() if path == "/v2/images" else made[0].json()["image"])["id"]

    refused = owner.post(path, body)
    others = limited.caller("p2").post(path, body)
    gone = owner.delete(f"{path}/{first}")
    again = owner.post(path, body)

    assert all(answer.is_success for answer in (*made, others, gone, again))
    assert refused.status_code == 413
    assert FULL in refused.text


def test_the_owner_counts_and_not_who_asks(limited: Client) -> None:
    writer = limited.caller("p0", "service")
    for _ in range(2):
        assert writer.post("/images", {"image": {**V1["image"], "owner": "p1"}}).is_success

    refused = writer.post("/images", {"image": {**V1["image"], "owner": "p1"}})

    assert refused.status_code == 413
    assert writer.post("/images", {"image": {**V1["image"], "owner": "p2"}}).is_success


def test_without_the_setting_and_without_an_owner_nobody_counts(client: Client) -> None:
    owned = [client.post("/images", {"image": {**V1["image"], "owner": "p1"}}) for _ in range(4)]
    ownerless = [client.post("/images", V1) for _ in range(4)]

    assert all(answer.is_success for answer in (*owned, *ownerless))
