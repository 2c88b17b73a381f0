# SPDX-License-Identifier: Apache-2.0
"""The bytes of an image in one of several stores. Source: the conversation with Glance 33 on copies."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Client
from tests.options import make_settings

from glance_registry.model.access import ANYONE_IS_ADMIN
from glance_registry.transfer.copy import copy_to_store


@pytest.fixture
def client(database: str, tmp_path: Path) -> Iterator[Client]:
    client = Client(
        make_settings(
            database,
            identity__mode="context",
            stores__enabled=("fast:file", "cold:file"),
            stores__directory=str(tmp_path),
        )
    )
    yield client
    client.close()


async def copy(client: Client, image_id: str) -> None:
    transfers = (await client.application.open()).transfers
    await copy_to_store(transfers, image_id, "cold", ANYONE_IS_ADMIN)


def test_an_admin_takes_the_bytes_from_one_of_two_stores(client: Client, tmp_path: Path) -> None:
    owner, admin = client.caller("owner"), client.caller("operations", "admin")
    image = owner.register()
    content_type = {"Content-Type": "application/octet-stream"}
    owner.request("PUT", image["file"], content=b"bytes", headers=content_type)
    client.runner.run(copy(client, image["id"]))
    assert owner.get(image["self"]).json()["stores"] == "cold,fast"

    path = f"/v2/stores/fast/{image['id']}"
    assert client.caller("other").request("DELETE", path).status_code == 404
    assert owner.request("DELETE", path).status_code == 403
    assert owner.request("DELETE", f"/v2/stores/nosuch/{image['id']}").status_code == 409
    assert admin.request("DELETE", "/v2/stores/fast/none").status_code == 404
    answer = admin.request("DELETE", path)
    client.sweep()

    assert (answer.status_code, answer.content) == (204, b"")
    assert owner.get(image["self"]).json()["stores"] == "cold"
    assert owner.get(image["file"]).content == b"bytes"
    assert not [one for one in (tmp_path / "fast").rglob("*") if one.is_file()]
    assert admin.request("DELETE", path).status_code == 403
    assert admin.request("DELETE", f"/v2/stores/cold/{image['id']}").status_code == 403
    assert admin.request("GET", path).status_code == 405


def test_bytes_are_taken_from_a_store_only_while_the_image_is_active(client: Client) -> None:
    admin = client.caller("operations", "admin")
    image = admin.register()

    answer = admin.request("DELETE", f"/v2/stores/fast/{image['id']}")

    assert answer.status_code == 409
    assert "queued" in answer.text
