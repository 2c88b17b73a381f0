# SPDX-License-Identifier: Apache-2.0
"""gophercloud, on which Terraform's provider and Kubernetes' tools for OpenStack are built.

Needs Debian's golang-go and golang-github-gophercloud-gophercloud-dev; Go's own modules would be fetched in the test.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.processes import Server

SOURCE = Path(__file__).parent / "gophercloud" / "main.go"
GOPATH = Path("/usr/share/gocode")
"""Where Debian's packages put the sources of libraries."""


@pytest.mark.nightly
def test_every_call_of_its_image_service_works(tmp_path: Path) -> None:
    library = GOPATH / "src/github.com/gophercloud/gophercloud"
    assert shutil.which("go"), "install the Debian package golang-go"
    assert library.exists(), "install the Debian package golang-github-gophercloud-gophercloud-dev"
    program = tmp_path / "program"
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": str(GOPATH), "GOCACHE": str(tmp_path / "cache")}
    subprocess.run(["go", "build", "-o", program, SOURCE], env=environment, check=True, timeout=600)

    with Server(tmp_path, "sqlite:///r.sqlite") as server:
        address = f"http://127.0.0.1:{server.port}"
        ended = subprocess.run([program, address], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0, ended.stdout
    assert ended.stdout.splitlines()[-1] == "expel"
