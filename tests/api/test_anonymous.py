# SPDX-License-Identifier: Apache-2.0
"""Callers without an identity in mode context, where a setting decides whether they are served."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Client
from tests.options import make_settings

from glance_registry.settings import load

DOUBTED = {"X-Identity-Status": "Invalid", "X-Roles": "admin", "X-Tenant-Id": "p"}


@pytest.fixture
def closed(sqlite_database: str) -> Iterator[Client]:
    """A registry that demands an identity."""
    client = Client(make_settings(sqlite_database, identity__mode="context", identity__anonymous=False))
    yield client
    client.close()


@pytest.mark.parametrize("headers", [{}, DOUBTED], ids=["nobody", "doubted"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/images"),
        ("POST", "/images"),
        ("GET", "/images/one"),
        ("HEAD", "/images/detail"),
        ("GET", "/shared-images/p"),
        ("GET", "/v2/images"),
        ("GET", "/v2/images/one"),
        ("GET", "/v2/schemas/image"),
        ("DELETE", "/v2/images/one"),
        ("GET", "/ui"),
    ],
)
def test_without_an_identity_everything_is_401(closed: Client, method: str, path: str, headers: dict[str, str]) -> None:
    answer = closed.request(method, path, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Context realm="glance-registry"'
    assert method == "HEAD" or "requires an identity" in answer.text


def test_whoever_has_an_identity_is_served(closed: Client) -> None:
    assert closed.caller("p", "member").get("/v2/images").status_code == 200
    assert closed.caller(None, "member").get("/images").status_code == 200
    assert [closed.get(path).status_code for path in ("/versions", "/v2", "/healthcheck")] == [200] * 3


def test_an_identity_from_an_address_that_is_not_trusted_is_still_403(sqlite_database: str) -> None:
    client = Client(
        make_settings(sqlite_database, identity__mode="context", identity__anonymous=False),
        address="203.0.113.9",
    )

    assert client.caller("p", "admin").get("/images").status_code == 403
    assert client.get("/images").status_code == 401
    client.close()


def test_by_default_they_are_served(sqlite_context: Client) -> None:
    assert [sqlite_context.get("/images", headers=headers).status_code for headers in ({}, DOUBTED)] == [200, 200]


@pytest.mark.parametrize(
    ("text", "served"),
    [
        ("", True),
        ("[identity]\nanonymous = false\n", False),
        ("[DEFAULT]\nallow_anonymous_access = false\n", False),
        ("[DEFAULT]\nallow_anonymous_access = true\n", True),
    ],
)
def test_the_setting_has_its_name_of_before_too(tmp_path: Path, text: str, served: bool) -> None:
    file = tmp_path / "registry.conf"
    file.write_text(text)

    loaded = load([str(file)])

    assert loaded.settings.identity.anonymous is served
    assert loaded.unknown == []
