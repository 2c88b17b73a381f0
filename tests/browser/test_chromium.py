# SPDX-License-Identifier: Apache-2.0
"""The pages in a real Chromium: what people do there works, and what assistive programs read there is right.

Needs Debian's chromium and chromium-driver, and what `make nightly` installs.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.processes import Server, wait_until

from glance_registry.cli import osinfo

OSINFO = Path(__file__).parents[1] / "cli" / "osinfo" / "os" / "example.org" / "alder-1.xml"
LIGHT_AND_DARK = ("light", "dark")
WIDTHS = (1280, 390)
"""Pixels: a desktop's window, a telephone."""

QUIET = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]
"""Chromium asks nobody but the server."""

ADDED = {
    "hw_architecture": "x86_64",
    "hw_cdrom_bus": "sata",
    "hw_cpu_cores": "2",
    "hw_cpu_sockets": "1",
    "hw_cpu_threads": "2",
    "hw_disk_bus": "virtio",
    "hw_emulator_threads_policy": "share",
    "hw_firmware_type": "uefi",
    "hw_machine_type": "pc-q35-8.2",
    "hw_qemu_guest_agent": "yes",
    "hw_rng_model": "virtio",
    "hw_scsi_model": "virtio-scsi",
    "hw_vif_model": "virtio",
    "hw_video_model": "virtio",
    "os_require_quiesce": "yes",
    "traits:required": "CUSTOM_HW_CPU_X86_SVM_NESTED_PAGING_AND_A_LONG_TRAIT_WITHOUT_A_BLANK=required",
    "upstream_sha512": "3b0a" * 32,
    "licence": "Permission is granted to use, copy and give away this image, whole and unchanged. " * 40,
}
"""What a cloud adds to the properties of an image of libosinfo: digests, flags, and a text of some pages."""

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("browser"), "sqlite:///r.sqlite") as server:
        yield server


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver

    programs = shutil.which("chromium"), shutil.which("chromedriver")
    assert all(programs), "install the Debian packages chromium and chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    profile = f"--user-data-dir={tmp_path_factory.mktemp('profile')}"
    for argument in ("--headless=new", "--no-sandbox", profile, *QUIET):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
    yield driver
    driver.quit()


@pytest.fixture
def image_id(server: Server) -> str:
    image = {
        "name": "jammy",
        "disk_format": "qcow2",
        "container_format": "bare",
        "os_distro": "ubuntu",
        "tags": ["lts"],
    }
    answer = server.http.post("/v2/images", json=image)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.fixture(scope="module")
def osinfo_image_id(server: Server) -> str:
    """An image as `import osinfo` registers it, with 28 properties."""
    body = next(offer.body for offer in osinfo.read(OSINFO) if offer.body)
    properties = {**body["properties"], **ADDED}
    assert len(properties) == 28
    return str(server.add(**{**body, "properties": properties})["id"])


def complaints(chromium: Any) -> list[str]:
    """What Chromium says against the pages since the last look: what the policy forbids, what is not there."""
    return [entry["message"] for entry in chromium.get_log("browser")]


def find(chromium: Any, selector: str) -> Any:
    return chromium.find_element("css selector", selector)


def follow(chromium: Any, link: Any) -> None:
    """Click on what opens another page, and wait for that page: the driver itself may go on with the old one."""
    chromium.execute_script("window.isOld = true")
    link.click()
    wait_until(lambda: chromium.execute_script("return !window.isOld && document.readyState === 'complete'"))


def test_an_image_is_searched_opened_and_changed(server: Server, chromium: Any, image_id: str) -> None:
    server.http.post("/v2/images", json={"name": "noble", "tags": ["lts"]})
    chromium.get(f"http://127.0.0.1:{server.port}/ui")
    find(chromium, "#q").send_keys("jam")
    follow(chromium, find(chromium, ".search button"))
    assert "noble" not in find(chromium, "main").text

    follow(chromium, chromium.find_element("link text", "jammy"))
    assert chromium.current_url.endswith(f"/ui/images/{image_id}")
    follow(chromium, chromium.find_element("link text", "Edit"))
    find(chromium, "#name").clear()
    find(chromium, "#name").send_keys("jammy, renamed")
    find(chromium, "#tags").send_keys("\nserver")
    find(chromium, "tr:last-child input[name=property]").send_keys("team")
    find(chromium, "tr:last-child textarea").send_keys("web\nshop")
    follow(chromium, find(chromium, "form.edit button"))

    assert find(chromium, "h1").text == "jammy, renamed"
    kept = server.http.get(f"/v2/images/{image_id}").json()
    assert (kept["name"], kept["tags"], kept["team"]) == ("jammy, renamed", ["lts", "server"], "web\nshop")
    assert kept["os_distro"] == "ubuntu"
    assert complaints(chromium) == []


def test_a_change_that_another_one_overtook_keeps_what_was_entered(
    server: Server, chromium: Any, image_id: str
) -> None:
    chromium.get(f"http://127.0.0.1:{server.port}/ui/images/{image_id}/edit")
    server.http.put(f"/v2/images/{image_id}/tags/theirs")
    find(chromium, "#name").send_keys(", mine")
    follow(chromium, find(chromium, "form.edit button"))

    assert "Nothing was saved" in find(chromium, "[role=alert]").text
    assert find(chromium, "#name").get_attribute("value") == "jammy, mine"
    assert server.http.get(f"/v2/images/{image_id}").json()["name"] == "jammy"
    assert ["412" in line for line in complaints(chromium)] == [True]


def show(chromium: Any, url: str, width: int, colors: str, picture: Path) -> None:
    """Open a page, and save a picture of it."""
    emulate(chromium, width, colors)
    chromium.get(url)
    save_picture(chromium, picture)


def emulate(chromium: Any, width: int, colors: str) -> None:
    set_window(chromium, width, 900)
    features = [{"name": "prefers-color-scheme", "value": colors}]
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def set_window(chromium: Any, width: int, height: int) -> None:
    """Emulate a window: a desktop's Chromium has none that is less than 500 pixels wide."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def save_picture(chromium: Any, picture: Path) -> None:
    """The whole page, not only what the window shows of it."""
    width, height = chromium.execute_script("return [innerWidth, document.documentElement.scrollHeight]")
    set_window(chromium, width, height)
    assert chromium.save_screenshot(str(picture))
    set_window(chromium, width, 900)


def assert_it_fits(chromium: Any, width: int) -> None:
    """Nothing is wider than the window, and nothing with text is so narrow that it is read letter by letter."""
    assert chromium.execute_script("return window.innerWidth") == width
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    assert chromium.execute_script(NARROW_CELLS) == []


NARROW_CELLS = """
    return [...document.querySelectorAll("th, td")].filter((cell) => {
      const text = cell.innerText.trim(), style = getComputedStyle(cell);
      const inside = cell.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
      const broken = cell.getClientRects().length && style.whiteSpace !== "nowrap";
      return broken && text.length > 8 && inside < 8 * parseFloat(style.fontSize);
    }).map((cell) => cell.outerHTML);
"""


MAX_HEIGHTS = {1280: 3_200, 390: 8_000}
"""Pixels, by width. Half of it is the text of the licence, whose column has 26 letters in the narrow window."""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", ["", "/edit"])
def test_an_image_with_many_properties_can_be_read(
    server: Server, chromium: Any, osinfo_image_id: str, tmp_path: Path, page: str, width: int
) -> None:
    url = f"http://127.0.0.1:{server.port}/ui/images/{osinfo_image_id}{page}"
    show(chromium, url, width, "light", tmp_path / "page.png")

    assert_it_fits(chromium, width)
    assert chromium.execute_script("return document.documentElement.scrollHeight") < MAX_HEIGHTS[width]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("colors", LIGHT_AND_DARK)
def test_a_conflict_over_many_properties_can_be_read(
    server: Server, chromium: Any, tmp_path: Path, colors: str, width: int
) -> None:
    from axe_core_python.selenium import Axe

    texts = {"os_distro": "alder", "licence": ADDED["licence"], "hw_emulator_threads_policy": "share"}
    image_id = server.http.post("/v2/images", json={"name": "alder", **texts}).json()["id"]
    chromium.get(f"http://127.0.0.1:{server.port}/ui/images/{image_id}/edit")
    changes = [{"op": "replace", "path": f"/{name}", "value": f"{text} (theirs)"} for name, text in texts.items()]
    content_type = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    assert server.http.patch(f"/v2/images/{image_id}", json=changes, headers=content_type).status_code == 200
    emulate(chromium, width, colors)
    follow(chromium, find(chromium, "form.edit button"))

    assert "theirs" in find(chromium, ".changes").text
    save_picture(chromium, tmp_path / "page.png")
    assert_it_fits(chromium, width)
    assert Axe().run(chromium)["violations"] == []
    assert ["412" in line for line in complaints(chromium)] == [True]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("colors", LIGHT_AND_DARK)
@pytest.mark.parametrize(
    "path", ["", "?q=jammy&visibility=shared&sort=name:asc", "/images/{}", "/images/{}/edit", "/sign-in", "/x"]
)
def test_everybody_can_read_and_use_every_page(
    server: Server, chromium: Any, image_id: str, tmp_path: Path, path: str, colors: str, width: int
) -> None:
    """What axe finds by itself: contrast, names of fields, landmarks; and nothing is wider than the window."""
    from axe_core_python.selenium import Axe

    url = f"http://127.0.0.1:{server.port}/ui{path.format(image_id)}"
    show(chromium, url, width, colors, tmp_path / "page.png")

    found = Axe().run(chromium)

    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]] == []
    assert_it_fits(chromium, width)
    assert [line for line in complaints(chromium) if path != "/x" or "404" not in line] == []
