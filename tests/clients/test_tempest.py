# SPDX-License-Identifier: Apache-2.0
"""OpenStack's own tests of the Images API against a server that asks a real Keystone, some minutes of them at night."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.clients.conftest import MakeDatabase
from tests.keystone import PASSWORD, Keystone, options, written
from tests.processes import Server

PYTHON = Path(sys.prefix) / "tempest" / "bin" / "python"
SECONDS = 900
MODULES = (
    *("test_images", "test_images_member", "test_images_member_negative", "test_images_negative"),
    *("test_images_tags", "test_images_tags_negative", "test_versions", "admin.test_images"),
)
"""Of `tempest.api.image.v2`; the others are of metadata definitions, tasks, a cache, or need a Nova."""

REFUSED = {
    "ImageLocationsTest.test_replace_location",
    "ImageLocationsTest.test_set_location_with_hash_second_matching",
    "ImageLocationsAdminTest.test_delete_locations",
}
"""An owner would give an active image further locations, which OSSN-0090 warns of."""

IMAGES = {"show_multiple_locations": True, "require_image_format_match": False}
"""Tempest uploads random bytes as images of every format; it leaves these tests out when formats must match."""

CONFIG = """
[DEFAULT]
log_file = {folder}/tempest.log
[oslo_concurrency]
lock_path = {folder}
[auth]
use_dynamic_credentials = true
create_isolated_networks = false
admin_username = admin
admin_password = {password}
admin_project_name = admin
admin_domain_name = Default
[identity]
uri_v3 = {keystone}
auth_version = v3
region = here
[service_available]
glance = true
nova = false
neutron = false
cinder = false
swift = false
[image-feature-enabled]
import_image = false
manage_locations = true
image_format_enforcement = false
"""


def run_tempest(folder: Path, keystone: Keystone) -> dict[str, str]:
    """The outcome of each test, or of a class that could not be set up: ok, FAIL, ERROR or skipped."""
    assert PYTHON.exists(), "Tempest is not installed: run `make nightly`, or `make .venv/tempest.stamp`."
    given = {"folder": folder, "password": PASSWORD.replace("$", "$$"), "keystone": keystone.url}
    (folder / "tempest.conf").write_text(CONFIG.format(**given))
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PYTHON"))}
    ended = subprocess.run(
        [PYTHON, "-P", "-W", "ignore", "-m", "unittest", "-v", *(f"tempest.api.image.v2.{name}" for name in MODULES)],
        cwd=folder,
        env={**own, "TEMPEST_CONFIG_DIR": str(folder), "TEMPEST_CONFIG": "tempest.conf"},
        stderr=subprocess.PIPE,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    test = r"^tempest\.\S*?([A-Z]\w+\.test_\w+)\S* \.\.\. (\w+)"
    whole_class = r"^setUpClass \(\S*?(\w+)\) \.\.\. (\w+)"
    found = re.findall(f"{test}|{whole_class}", ended.stderr, re.MULTILINE)
    return {one or other: outcome or of_class for one, outcome, other, of_class in found}


@pytest.mark.nightly
def test_what_tempest_asks_is_answered(keystone: Keystone, make_database: MakeDatabase, tmp_path: Path) -> None:
    files = (
        written(tmp_path / "registry.conf", {"mode": "keystone"}, "identity"),
        written(tmp_path / "images.conf", IMAGES, "images"),
        written(tmp_path / "keystone.conf", options(keystone)),
    )
    given = [argument for file in files for argument in ("--config-file", file)]
    with Server(tmp_path, make_database("sqlite"), *given) as server, keystone.listed("image", server.port):
        outcomes = run_tempest(tmp_path, keystone)

    failed = {name for name, outcome in outcomes.items() if outcome in ("FAIL", "ERROR")}
    assert failed == REFUSED
    assert list(outcomes.values()).count("ok") >= 28, outcomes
