# SPDX-License-Identifier: Apache-2.0
"""Whatever is sent to the Images API: an answer below 500, in JSON, and nothing half done."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import Client
from tests.options import make_settings
from tests.speeds import scaled

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats(allow_nan=False) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
ATTRIBUTES = st.sampled_from(
    [
        *("name", "visibility", "tags", "min_disk", "min_ram", "protected", "os_hidden", "owner", "disk_format", "id"),
        *("locations", "locations/-", "locations/0", "status", "size", "p", "a~1b", "", "~", "a//b", " "),
    ]
)
PLACES = st.fixed_dictionaries(
    {}, optional={"url": VALUES | st.just("http://x/y"), "metadata": VALUES, "validation_data": VALUES}
)
OPERATIONS = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["add", "remove", "replace", "test"]) | VALUES,
        "path": ATTRIBUTES.map(lambda name: f"/{name}") | VALUES,
        "value": VALUES | PLACES,
        "replace": VALUES,
    },
)
CHANGES = st.tuples(st.sampled_from(["2.1", "2.0"]), st.lists(OPERATIONS | VALUES, max_size=3) | VALUES)


@pytest.fixture(scope="module")
def sturdy(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[tuple[Client, str]]:
    path = tmp_path_factory.mktemp("broken") / "registry.sqlite"
    path.write_bytes(sqlite_template.read_bytes())
    client = Client(make_settings(f"sqlite:///{path}", images__show_multiple_locations=True))
    yield client, client.register()["id"]
    client.close()


def check(answer: Any) -> None:
    assert answer.status_code < 500, answer.text
    if answer.is_error:
        assert answer.json()["error"]["message"]


@settings(max_examples=scaled(150))
@given(change=CHANGES)
def test_no_change_breaks_anything(sturdy: tuple[Client, str], change: tuple[str, Any]) -> None:
    client, image_id = sturdy
    version, body = change
    content = json.dumps(body).encode()
    headers = {"Content-Type": f"application/openstack-images-v{version}-json-patch"}
    before = client.get(f"/v2/images/{image_id}").json()

    answer = client.request("PATCH", f"/v2/images/{image_id}", content=content, headers=headers)

    check(answer)
    after = client.get(f"/v2/images/{image_id}").json()
    assert after == (answer.json() if answer.status_code == 200 else before)


@settings(max_examples=scaled(100))
@given(
    body=st.dictionaries(ATTRIBUTES | st.text(max_size=5), VALUES, max_size=4) | VALUES,
    path=st.sampled_from(["/v2/images", "members", "locations", "members/m"]),
)
def test_no_body_breaks_anything(sturdy: tuple[Client, str], body: Any, path: str) -> None:
    client, image_id = sturdy
    method = "PUT" if path == "members/m" else "POST"

    check(client.request(method, path if path[0] == "/" else f"/v2/images/{image_id}/{path}", content=json.dumps(body)))


@settings(max_examples=scaled(100))
@given(
    query=st.lists(
        st.tuples(
            st.sampled_from(["name", "id", "created_at", "sort", "sort_key", "tag", "limit", "size_min", "p", "owner"])
            | st.text(max_size=5),
            st.text(max_size=20) | st.sampled_from(["in:", 'in:"', "gt:", "eq:x", "name:asc,size", "a" * 300]),
        ),
        max_size=4,
    )
)
def test_no_query_breaks_anything(sturdy: tuple[Client, str], query: list[tuple[str, str]]) -> None:
    check(sturdy[0].get("/v2/images", params=[(a, b) for a, b in query if a.isprintable()]))


@pytest.mark.parametrize("tag", ["%00", "%FF", "x" * 300, "..", "%2F", "%0A", "a%20b"])
def test_no_tag_breaks_anything(sturdy: tuple[Client, str], tag: str) -> None:
    check(sturdy[0].put(f"/v2/images/{sturdy[1]}/tags/{tag}"))


def test_a_body_that_is_too_large_is_413(sqlite_database: str) -> None:
    client = Client(make_settings(sqlite_database, max_request_body_size=1024))

    for method, path in (("POST", "/v2/images"), ("PATCH", f"/v2/images/{client.register()['id']}")):
        headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        assert client.request(method, path, content=b" " * 2000, headers=headers).status_code == 413
    client.close()


@pytest.mark.parametrize("depth", [100, 100_000])
def test_a_body_that_is_nested_deeply_is_refused(sturdy: tuple[Client, str], depth: int) -> None:
    headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    content = b"[" * depth + b"]" * depth

    answer = sturdy[0].request("PATCH", f"/v2/images/{sturdy[1]}", content=content, headers=headers)

    assert answer.status_code == 400
