# SPDX-License-Identifier: Apache-2.0
"""The pages in a real Chromium: what people do there works, and what assistive programs read there is right.

Needs Debian's chromium and chromium-driver, and what `make nightly` installs.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.processes import Server

LIGHT_AND_DARK = ("light", "dark")
WIDTHS = (1280, 380)
"""Pixels: a desktop's window, a telephone."""

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
    for argument in ("--headless=new", "--no-sandbox", f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
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


def complaints(chromium: Any) -> list[str]:
    """What Chromium says against the pages since the last look: what the policy forbids, what is not there."""
    return [entry["message"] for entry in chromium.get_log("browser")]


def find(chromium: Any, selector: str) -> Any:
    return chromium.find_element("css selector", selector)


def test_an_image_is_searched_opened_and_changed(server: Server, chromium: Any, image_id: str) -> None:
    server.http.post("/v2/images", json={"name": "noble", "tags": ["lts"]})
    chromium.get(f"http://127.0.0.1:{server.port}/ui")
    find(chromium, "#q").send_keys("jam")
    find(chromium, ".search button").click()
    assert "noble" not in find(chromium, "main").text

    chromium.find_element("link text", "jammy").click()
    assert chromium.current_url.endswith(f"/ui/images/{image_id}")
    chromium.find_element("link text", "Edit").click()
    find(chromium, "#name").clear()
    find(chromium, "#name").send_keys("jammy, renamed")
    find(chromium, "#tags").send_keys("\nserver")
    find(chromium, "tr:last-child input[name=property]").send_keys("team")
    find(chromium, "tr:last-child textarea").send_keys("web\nshop")
    find(chromium, "form.edit button").click()

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
    find(chromium, "form.edit button").click()

    assert "Nothing was saved" in find(chromium, "[role=alert]").text
    assert find(chromium, "#name").get_attribute("value") == "jammy, mine"
    assert server.http.get(f"/v2/images/{image_id}").json()["name"] == "jammy"
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

    chromium.set_window_size(width, 900)
    features = [{"name": "prefers-color-scheme", "value": colors}]
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    chromium.get(f"http://127.0.0.1:{server.port}/ui{path.format(image_id)}")
    chromium.save_screenshot(str(tmp_path / "page.png"))

    found = Axe().run(chromium)

    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]] == []
    assert chromium.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert [line for line in complaints(chromium) if path != "/x" or "404" not in line] == []
