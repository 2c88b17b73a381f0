# SPDX-License-Identifier: Apache-2.0
"""How many images a project may own, and how many properties an image may have."""

from collections.abc import Iterator

import pytest
from tests.conftest import Client
from tests.options import make_settings

V2 = {"disk_format": "raw", "container_format": "bare"}
V1 = {"image": {**V2, "is_public": False}}
FULL = "Project p1 has 2 images, as many as it may have: delete one first."


@pytest.fixture
def limited(database: str) -> Iterator[Client]:
    client = Client(make_settings(database, identity__mode="context", limits__images_per_owner=2))
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


@pytest.mark.parametrize("most", [2, 300])
def test_an_image_has_at_most_as_many_properties_as_the_setting_says(database: str, most: int) -> None:
    client = Client(make_settings(database, limits__properties_per_image=most))
    own = {f"p{number}": "x" for number in range(most)}
    try:
        assert (
            client.post("/images", {"image": {**V1["image"], "properties": {**own, "one": "more"}}}).status_code == 400
        )
        assert client.post("/v2/images", {**V2, **own, "one": "more"}).status_code == 413
        old = client.add(properties=own)["id"]
        new = client.register(**own)["id"]
        assert client.put(f"/images/{old}", {"image": {"properties": {"one": "more"}}}).status_code == 400
        refused = client.patch(new, {"op": "add", "path": "/one", "value": "more"})
        assert (refused.status_code, f"at most {most} properties" in refused.text) == (413, True)
        assert client.show(old)["properties"] == client.show(new)["properties"] == own
    finally:
        client.close()


def test_an_image_that_has_more_properties_keeps_them_and_can_be_renamed(database: str) -> None:
    own = {"one": "1", "two": "2", "three": "3"}
    generous, strict = (Client(make_settings(database, limits__properties_per_image=most)) for most in (3, 2))
    try:
        image_id = generous.add(properties=own)["id"]

        assert strict.put(f"/images/{image_id}", {"image": {"name": "renamed"}}).status_code == 200
        assert strict.patch(image_id, {"op": "replace", "path": "/name", "value": "again"}).status_code == 200
        assert strict.put(f"/images/{image_id}", {"image": {"properties": {"four": "4"}}}).status_code == 400
        shown = strict.show(image_id)
        assert (shown["name"], shown["properties"]) == ("again", own)
    finally:
        generous.close()
        strict.close()
