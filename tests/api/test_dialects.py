# SPDX-License-Identifier: Apache-2.0
"""`[api] registry`, `images` and `pages`: each is served, or none of its paths is there."""

import json
from itertools import product

import pytest
from tests.conftest import Client
from tests.options import make_settings

from glance_registry.app import build
from glance_registry.model.errors import Invalid
from glance_registry.settings import load

PATHS = {
    "registry": ["/images", "/images/detail", "/images/1", "/images/1/members", "/shared-images/p"],
    "images": ["/", "/versions", "/v2", "/v2/", "/v2/images", "/v2/images/1", "/v2.1/images", "/v2/schemas/image",
               "/v2/info/import", "/v2/tenants/p"],
    "pages": ["/ui", "/ui/images/1"],
}  # fmt: skip
COMBINATIONS = [dict(zip(PATHS, on, strict=True)) for on in product([True, False], repeat=3)][:-1]
ALWAYS = ["/healthcheck", "/metrics", "/openapi.json"]


@pytest.mark.parametrize(
    "switches", [dict(zip(PATHS, on, strict=True)) for on in product([True, False], repeat=3)][:-1]
)
def test_a_dialect_that_is_off_has_no_path(sqlite_database: str, switches: dict[str, bool]) -> None:
    client = Client(make_settings(sqlite_database, **{f"api__{name}": on for name, on in switches.items()}))
    answers = {path: client.get(path) for name in PATHS for path in PATHS[name]}
    described = json.loads(client.get("/openapi.json").content)["paths"]
    always = [client.get(path).status_code for path in ALWAYS]
    client.close()

    there = {path for path, answer in answers.items() if "nothing at this path" not in answer.text}
    assert there == {path for name, on in switches.items() if on for path in PATHS[name]}
    assert {answers[path].status_code for path in answers.keys() - there} <= {404}
    assert always == [200, 200, 200]
    assert ("/images" in described, "/v2/images" in described) == (switches["registry"], switches["images"])


def test_a_server_that_would_serve_nothing_does_not_start(sqlite_database: str) -> None:
    with pytest.raises(Invalid, match=r"\[api\] registry, images and pages"):
        build(make_settings(sqlite_database, api__registry=False, api__images=False, api__pages=False))


def test_the_old_name_of_the_switch_of_the_pages_still_counts(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "old.conf"
    file.write_text("[ui]\nenabled = false\n")

    assert load([str(file)]).settings.api.pages is False
