# SPDX-License-Identifier: Apache-2.0
"""A real OpenStack Swift with its S3 API on ports of this machine; `make test` installs it.

Four processes (account, container, object, proxy) over one folder; none of the daemons that repair and expire.
"""

import ctypes
import getpass
import secrets
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx

from glance_registry.settings import StoreSection
from glance_registry.stores.budget import Budget
from glance_registry.stores.s3 import S3Store
from glance_registry.stores.s3_settings import read_section
from tests.processes import SECONDS, free_port, wait_until

RINGS = Path(__file__).with_name("swift_rings.py")
PROGRAMS = Path(sys.prefix) / "swift" / "bin"
PARTS = ("account", "container", "object")
ACCESS_KEY = "test:tester"
"""In tempauth, the account and the user."""

COMMON = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
user = {user}
log_address = {folder}/no-syslog
log_level = WARNING
"""
PART = """devices = {folder}/devices
mount_check = false
fallocate_reserve = 0
disable_fallocate = true
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""
PROXY = """[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck s3api tempauth bulk slo proxy-server
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
# The segments of a large object go with it, and not later by a daemon.
allow_async_delete = false
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
# There is one server of each kind: to leave it alone after ten errors would be an outage of a minute.
error_suppression_limit = 1000000
conn_timeout = 10
node_timeout = 60
allow_account_management = true
"""
CLUSTER = """[swift-hash]
swift_hash_path_suffix = tests
[storage-policy:0]
name = one
default = yes
"""


class Swift:
    """Its folder and its ports outlast a stop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret_key = secrets.token_hex(16)
        self.ports = {name: free_port() for name in (*PARTS, "proxy")}
        self.url = f"http://127.0.0.1:{self.ports['proxy']}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._write_settings()

    def _write_settings(self) -> None:
        (self.folder / "devices" / "disk").mkdir(parents=True)
        (self.folder / "swift.conf").write_text(CLUSTER)
        for name, port in self.ports.items():
            text = COMMON.format(folder=self.folder, port=port, user=getpass.getuser())
            text += (
                PROXY.format(secret=self.secret_key) if name == "proxy" else PART.format(folder=self.folder, name=name)
            )
            (self.folder / f"{name}.conf").write_text(text)
        assert PROGRAMS.exists(), "Swift is not installed: run `make test`, or `make .venv/swift.stamp`."
        ports = [str(self.ports[name]) for name in PARTS]
        subprocess.run([PROGRAMS / "python", "-P", RINGS, self.folder, *ports], check=True, capture_output=True)

    def start(self) -> None:
        """Returns when all parts answer. The proxy starts last: nobody is served by a half of them."""
        for name in PARTS:
            self._start(name)
        wait_until(lambda: all(self._listens(name) for name in PARTS))
        self._start("proxy")
        wait_until(lambda: self._listens("proxy"))

    def _start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [PROGRAMS / f"swift-{name}-server", self.folder / f"{name}.conf"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls no Python lock
            )

    def _listens(self, name: str) -> bool:
        assert self.processes[name].poll() is None, (self.folder / f"{name}.log").read_text()
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.ports[name]}/healthcheck", timeout=SECONDS).status_code < 500
        return False

    def kill(self) -> None:
        """SIGKILL to all parts; `start` brings them back with what they had."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
        self.processes.clear()

    def section(self, prefix: str = "", url: str = "", **options: Any) -> StoreSection:
        """The options of a store here, or at a URL that leads here."""
        return StoreSection(
            s3_store_host=url or self.url,
            s3_store_access_key=ACCESS_KEY,
            s3_store_secret_key=self.secret_key,
            s3_store_bucket="images",
            s3_store_create_bucket_on_put=True,
            s3_store_object_prefix=prefix,
            **options,
        )

    def make_bucket(self) -> None:
        with ThreadPoolExecutor(1) as threads:
            S3Store("cold", read_section("cold", asdict(self.section())), threads, Budget(1)).prepare()

    def stored_files(self) -> list[Path]:
        """The files of all objects and segments, whatever the lists of containers say."""
        return sorted((self.folder / "devices").rglob("*.data"))


def die_with_parent() -> None:
    """For `preexec_fn`: tests that are killed leave no server behind (prctl(2))."""
    parent_death_signal = 1
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
