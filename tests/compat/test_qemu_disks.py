# SPDX-License-Identifier: Apache-2.0
"""Disk images that qemu-img made, uploaded: taken or refused as Glance 33 did with such a file.

Where there is no qemu-img (Debian's qemu-utils), the images are those of `disks.py`, which have the same headers.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.compat.disks import DISKS
from tests.compat.test_glance33_formats import ROWS, SIZES
from tests.conftest import Client
from tests.options import make_settings

pytestmark = pytest.mark.external

QEMU_IMG = shutil.which("qemu-img")

# file of the recording -> the arguments of `qemu-img create` that made it, after the format; the size comes last.
# Not those with a password: qemu-img first measures how fast it hashes, and gives up on a busy machine.
MADE: dict[str, list[str]] = {
    "raw.raw": ["raw", "1M"],
    "v3.qcow2": ["qcow2", "-o", "compat=1.1", "8M"],
    "v2.qcow2": ["qcow2", "-o", "compat=0.10", "8M"],
    "backing.qcow2": ["qcow2", "-b", "base.img", "-F", "raw", "8M"],
    "datafile.qcow2": ["qcow2", "-o", "data_file=ext.raw,data_file_raw=on", "8M"],
    "stream.vmdk": ["vmdk", "-o", "subformat=streamOptimized", "8M"],
    "sparse.vmdk": ["vmdk", "-o", "subformat=monolithicSparse", "8M"],
    "flat.vmdk": ["vmdk", "-o", "subformat=monolithicFlat", "8M"],
    "dynamic.vhd": ["vpc", "-o", "subformat=dynamic", "8M"],
    "fixed.vhd": ["vpc", "-o", "subformat=fixed", "1M"],
    "a.vhdx": ["vhdx", "8M"],
    "a.vdi": ["vdi", "8M"],
    "a.qed": ["qed", "8M"],
}
CASES = [name for name in ROWS if name.partition(" as ")[0] in MADE and " in " not in name]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Client]:
    path = tmp_path_factory.mktemp("qemu") / "registry.sqlite"
    path.write_bytes(sqlite_template.read_bytes())
    client = Client(make_settings(f"sqlite:///{path}"))
    yield client
    client.close()


def make_disk(file: str, folder: Path) -> bytes:
    if QEMU_IMG is None:
        return DISKS[file](SIZES[file])
    (folder / "base.img").write_bytes(bytes(8 * 1024**2))
    disk_format, *options = MADE[file]
    made = subprocess.run(
        [QEMU_IMG, "create", "-q", "-f", disk_format, *options[:-1], file, options[-1]],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    return (folder / file).read_bytes()


def of_qemu(file: str, folder: Path) -> int:
    """The virtual size, as `qemu-img info` says it, or as it was asked for."""
    if QEMU_IMG is None:
        return 8 * 1024**2
    info = subprocess.run([QEMU_IMG, "info", "--output", "json", file], cwd=folder, capture_output=True, check=True)
    size: int = json.loads(info.stdout)["virtual-size"]
    return size


@pytest.mark.parametrize("name", CASES)
def test_a_disk_of_qemu_img_is_taken_or_refused_as_by_glance(client: Client, name: str, tmp_path: Path) -> None:
    file, _, disk_format = name.partition(" as ")
    data = make_disk(file, tmp_path)
    image = client.register(disk_format=disk_format, container_format="bare")

    answer = client.request("PUT", image["file"], content=data, headers={"Content-Type": "application/octet-stream"})

    wanted = ROWS[name]["stock"]
    assert answer.status_code == wanted["upload"], answer.text
    assert client.get(image["self"]).json()["status"] == wanted["after"]["status"]
    if answer.status_code == 204:
        assert client.get(image["file"]).content == data


@pytest.mark.parametrize("file", ["v3.qcow2", "v2.qcow2", "sparse.vmdk", "a.vhdx", "a.vdi"])
def test_the_virtual_size_is_what_qemu_img_says(client: Client, file: str, tmp_path: Path) -> None:
    data = make_disk(file, tmp_path)
    image = client.register(disk_format=file.partition(".")[2], container_format="bare")

    client.request("PUT", image["file"], content=data, headers={"Content-Type": "application/octet-stream"})

    assert client.get(image["self"]).json()["virtual_size"] == of_qemu(file, tmp_path)
