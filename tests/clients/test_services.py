# SPDX-License-Identifier: Apache-2.0
"""Bytes of images up and down with the image classes of Nova, Cinder and Ironic, behind a real Keystone."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from tests.clients.callers import Caller, Driver, Refused
from tests.clients.conftest import Login

SIZE = 3 * 1024**2 + 7


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Driver]]:
    """Starts a service the first time that it is named."""
    with ExitStack() as running:

        @cache
        def start(name: str) -> Driver:
            driver = Driver(tmp_path_factory.mktemp(name), "service_driver.py", "services", name)
            running.callback(driver.close)
            return driver

        yield start


@pytest.fixture(params=["nova", "cinder", "ironic"])
def service(request: pytest.FixtureRequest, start: Callable[[str], Driver]) -> Driver:
    return start(request.param)


@pytest.fixture
def nova(start: Callable[[str], Driver]) -> Driver:
    return start("nova")


@pytest.fixture
def cinder(start: Callable[[str], Driver]) -> Driver:
    return start("cinder")


@pytest.fixture
def alice(login: Login) -> Caller:
    return login("alice")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bytes") / "disk.raw"
    path.write_bytes(random.Random(17).randbytes(SIZE))
    return path


def test_a_service_uploads_an_image_and_gets_the_same_bytes_back(
    service: Driver, alice: Caller, tag: str, file: Path, tmp_path: Path
) -> None:
    image = alice.by_service(service, "create", name=tag, disk_format="raw", file=str(file))

    shown = alice.by_service(service, "show", image=image)
    assert (shown["name"], shown["status"], shown["size"]) == (tag, "active", SIZE)
    alice.by_service(service, "download", image=image, file=str(tmp_path / tag))
    assert (tmp_path / tag).read_bytes() == file.read_bytes()


def test_a_service_is_told_why_bytes_are_refused(service: Driver, alice: Caller, tag: str, file: Path) -> None:
    with pytest.raises(Refused, match="disk_format is qcow2, but its bytes are raw"):
        alice.by_service(service, "create", name=tag, disk_format="qcow2", file=str(file))


def test_a_service_sees_no_image_of_another_project(
    service: Driver, alice: Caller, login: Login, tag: str, file: Path
) -> None:
    made = alice.see(f"image create --file {file} --disk-format raw --container-format bare --private {tag}")

    with pytest.raises(Refused, match="ImageNotFound"):
        login("bob").by_service(service, "show", image=made["id"])


def test_nova_activates_an_image_that_has_no_bytes(nova: Driver, alice: Caller, tag: str) -> None:
    made = alice.by_service(nova, "activate", name=tag)

    assert made["id"]
    assert alice.see(f"image show {tag}")["status"] == "active"
    assert alice.see(f"image show {tag}")["size"] == 0


def test_cinder_is_refused_the_locations_and_reads_the_image(
    cinder: Driver, alice: Caller, tag: str, file: Path
) -> None:
    made = alice.see(f"image create --file {file} --disk-format raw --container-format bare {tag}")

    assert alice.by_service(cinder, "location", image=made["id"]) == [None, []]
