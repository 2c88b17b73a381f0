# SPDX-License-Identifier: Apache-2.0
"""OSSA-2014-041, -2015-002 (CVE-2014-9493, -2015-1195), -2014-012: files read, and commands run, by a location.

To the registry a location is text, of a scheme that a setting allows: it keeps it for the API servers, and never opens
what it names.
"""

import ast
from pathlib import Path

import pytest
from tests.conftest import Client

import glance_registry

SOURCE = Path(glance_registry.__file__).parent
LOCATIONS = [
    "file:///etc/passwd",
    "filesystem:///etc/passwd",
    "file:///../../etc/shadow",
    "http://169.254.169.254/latest/meta-data",
    "sheepdog://;touch /tmp/x;",
]
NO_LOCATIONS = [
    "../../x",
    "\n--output=/tmp/x",
    "file:///tmp/x\n--output=/tmp/x",
    "javascript://x/%0aalert(1)",
    "gopher://x/",
]
# What could open a location. The one that calls out is the identity mode keystone, which never sees an image.
OPENERS = {"subprocess", "httpx", "urllib.request", "http.client", "socket", "ftplib", "shutil", "pty"}
NEVER_SERVING = {"restore.py"}
"""A command that copies a database's file, which its user names; it reads no image."""
FOLDERS = ("model", "catalogue", "api/registry", "api/v2")


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_location_is_kept_as_it_is_given(sqlite_client: Client, location: str) -> None:
    image = sqlite_client.add(location=location, location_data=[{"url": location}])

    assert sqlite_client.show(image["id"])["location"] == location
    assert [place["url"] for place in image["location_data"]] == [location]


@pytest.mark.parametrize("location", NO_LOCATIONS)
@pytest.mark.parametrize("field", ["location", "location_data"])
def test_what_no_store_makes_is_no_location_whoever_names_it(sqlite_client: Client, location: str, field: str) -> None:
    given = {"location": location} if field == "location" else {"location_data": [{"url": location}]}
    image = sqlite_client.add()

    assert sqlite_client.put(f"/images/{image['id']}", {"image": given}).status_code == 400
    assert sqlite_client.post(f"/v2/images/{image['id']}/locations", {"url": location}).status_code in (400, 409)
    assert sqlite_client.show(image["id"]) == image


@pytest.mark.parametrize(
    "location", [*LOCATIONS, *NO_LOCATIONS, "rbd://pool/others/disk", "FILE:///etc/passwd", "file:/etc/passwd"]
)
def test_a_user_of_the_images_api_names_no_file_or_disk_of_a_compute_host(
    sqlite_context: Client, location: str
) -> None:
    owner = sqlite_context.caller("owner")
    image = owner.register()

    answer = owner.post(image["self"] + "/locations", {"url": location})

    # Whoever fetches from a web address does it with rights of its own.
    is_web_address = location.startswith("http://")
    assert answer.status_code == 202 if is_web_address else answer.status_code in (400, 403)
    assert owner.get(image["self"]).json()["status"] == ("active" if is_web_address else "queued")


@pytest.mark.parametrize(
    "path",
    sorted(path for folder in FOLDERS for path in (SOURCE / folder).rglob("*.py") if path.name not in NEVER_SERVING),
    ids=str,
)
def test_no_module_that_sees_a_location_can_open_one(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module)

    assert not imported & OPENERS


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_module_runs_a_shell(path: Path) -> None:
    names = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}

    assert not names & {"eval", "exec", "os.system", "os.popen", "subprocess.run", "subprocess.Popen"}
