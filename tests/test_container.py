# SPDX-License-Identifier: Apache-2.0
"""The container: what its image is told to run, run here with the same environment; and its health check."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.certificates import Certificate, make_authority, make_certificate
from tests.processes import PROGRAM, SECONDS, Server, environment, free_port

pytestmark = pytest.mark.external

DEPLOY = Path(__file__).parents[1] / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
HEALTHCHECK = DEPLOY / "healthcheck.py"


def given(folder: Path, **more: str) -> dict[str, str]:
    """The environment in the container, with its folder here."""
    words = re.findall(r"(OS_\w+)=(\S+)", "\n".join(re.findall(r"^ENV (.*)", DOCKERFILE, re.MULTILINE)))
    own = {name: value.replace("//var/lib/glance-registry", str(folder)) for name, value in words}
    assert own["OS_DEFAULT__BIND_HOST"] == "0.0.0.0"
    return {**environment(folder), **own, **more}


def test_it_does_not_start_without_identity_and_says_what_to_set(tmp_path: Path) -> None:
    (command,) = re.findall(r"^CMD (.*)", DOCKERFILE, re.MULTILINE)

    ended = subprocess.run(
        [*PROGRAM, *json.loads(command)],
        env=given(tmp_path, OS_DEFAULT__BIND_PORT=str(free_port())),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert json.loads(command) == ["serve"]
    assert ended.returncode == 1
    for words in ("OS_IDENTITY__MODE", "http_basic", "--insecure-no-auth"):
        assert words in ended.stderr
    assert not list(tmp_path.glob("*.sqlite"))


def test_the_example_with_names_and_passwords_works(tmp_path: Path) -> None:
    files = {
        "OS_IDENTITY__HTPASSWD_FILE": str(tmp_path / "htpasswd"),
        "OS_IDENTITY__USERS_FILE": str(tmp_path / "users.ini"),
    }
    add = [*PROGRAM, "user", "add", "alice", "--project", "p1", "--role", "admin", "--password-stdin"]
    subprocess.run(add, env=given(tmp_path, **files), input="s3cr$t\n", text=True, check=True, timeout=SECONDS)

    config = tmp_path / "r.conf"
    config.write_text(
        "[identity]\nmode = http_basic\n"
        f"htpasswd_file = {files['OS_IDENTITY__HTPASSWD_FILE']}\nusers_file = {files['OS_IDENTITY__USERS_FILE']}\n"
    )

    with Server(tmp_path, "sqlite:///r.sqlite", "--host", "0.0.0.0", "--config-file", str(config)) as server:
        assert server.http.get("/images").status_code == 401
        assert server.http.get("/images", auth=("alice", "s3cr$t")).status_code == 200


def test_its_user_is_a_number_that_is_not_root() -> None:
    assert re.findall(r"^USER (.*)", DOCKERFILE, re.MULTILINE) == ["10001:10001"]


def check_health(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """As the container does: without the program's packages."""
    own = given(folder, **settings)
    command = [sys.executable, "-I", str(HEALTHCHECK)]
    return subprocess.run(command, env=own, capture_output=True, text=True, check=False, timeout=SECONDS)


def test_the_health_check_follows_the_port_and_says_why_it_fails(tmp_path: Path) -> None:
    nobody = check_health(tmp_path, OS_DEFAULT__BIND_PORT=str(free_port()))
    with Server(tmp_path, "sqlite:///r.sqlite") as server:
        healthy = check_health(tmp_path, OS_DEFAULT__BIND_PORT=str(server.port))

    assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, "", "")
    assert (nobody.returncode, nobody.stderr) == (1, "")
    assert "refused" in nobody.stdout


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path, "own", make_authority(tmp_path, "authority"))


def test_the_health_check_follows_tls(tmp_path: Path, certificate: Certificate) -> None:
    class TlsServer(Server):
        def is_listening(self) -> bool:
            own = {"OS_DEFAULT__BIND_PORT": str(self.port), "OS_DEFAULT__CERT_FILE": str(certificate.cert)}
            return check_health(tmp_path, **own).returncode == 0

    flags = ("--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key))
    with TlsServer(tmp_path, "sqlite:///r.sqlite", *flags) as server:
        assert check_health(tmp_path, OS_DEFAULT__BIND_PORT=str(server.port)).returncode == 1


def test_who_starts_it_open_to_everybody_is_warned_in_the_log(tmp_path: Path) -> None:
    with Server(tmp_path, "sqlite:///r.sqlite", "--host", "0.0.0.0", "--insecure-no-auth") as server:
        lines = [json.loads(line) for line in server.output.splitlines() if "EVERYBODY" in line]

    assert [(line["level"].lower(), line["host"], line["port"]) for line in lines] == [
        ("warning", "0.0.0.0", server.port)
    ]
