# SPDX-License-Identifier: Apache-2.0
"""OSSA-2015-009 (CVE-2015-3988): metadata of an image ran as a script in a browser. No answer is HTML."""

import pytest
from tests.conftest import Client

SCRIPT = "<script>alert(1)</script>"
MEDIA_TYPES = {"application/json", "text/plain; charset=utf-8"}
REQUESTS = [
    ("GET", f"/{SCRIPT}", None),
    ("GET", f"/images?marker={SCRIPT}", None),
    ("GET", f"/images?sort_key={SCRIPT}", None),
    ("GET", f"/images?{SCRIPT}=%00", None),
    ("GET", f"/images/{SCRIPT}", None),
    ("GET", f"/images?name={SCRIPT}", None),
    ("POST", "/images", {"image": {"status": SCRIPT, "disk_format": SCRIPT, "container_format": SCRIPT}}),
    ("POST", "/images", {"image": {"id": SCRIPT, "disk_format": "raw", "container_format": "bare"}}),
    ("POST", "/images", SCRIPT),
    (SCRIPT.strip("<>"), "/images", None),
]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
@pytest.mark.parametrize("accept", ["text/html", "text/html,application/xhtml+xml,*/*", "application/json"])
def test_no_answer_is_html_even_where_it_is_asked_for(
    sqlite_client: Client, method: str, path: str, body: object, accept: str
) -> None:
    sqlite_client.add(name=SCRIPT, properties={"a": SCRIPT})

    answer = sqlite_client.request(method, path, json=body, headers={"accept": accept})

    assert answer.headers["content-type"] in MEDIA_TYPES
