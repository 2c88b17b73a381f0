# SPDX-License-Identifier: Apache-2.0
"""What is sent of an image is rendered once, and never sent of another."""

from collections.abc import Iterator

import pytest
from tests.catalogue.examples import image
from tests.conftest import Client
from tests.options import make_settings

from glance_registry.api.registry import wire
from glance_registry.api.render_cache import RenderCache
from glance_registry.catalogue.bounded_cache import MAX_PART
from glance_registry.model.image import Image

SIZE = 2**20


class Renderer:
    """Counts how often it renders."""

    def __init__(self, size: int = 1_000) -> None:
        self.calls = 0
        self._padding = b"." * size

    def __call__(self, image: Image, option: str = "") -> bytes:
        self.calls += 1
        return b"%b %b%b" % (image.id.encode(), option.encode(), self._padding)


@pytest.fixture
def render() -> Renderer:
    return Renderer()


@pytest.fixture
def rendered() -> RenderCache:
    """Of a catalogue that caches every image."""
    return RenderCache(lambda _: 500, SIZE)


def test_an_image_is_rendered_once(render: Renderer, rendered: RenderCache) -> None:
    one = image()

    assert rendered.render(render, one) is rendered.render(render, one)

    assert render.calls == 1


def test_each_way_to_render_is_its_own(render: Renderer, rendered: RenderCache) -> None:
    one = image()
    for _ in range(2):
        assert rendered.render(render, one, "a") == render(one, "a")
        assert rendered.render(render, one, "b") == render(one, "b")
        assert rendered.render(wire.brief_json, one) == wire.brief_json(one)

    assert len(rendered) == 3


def test_an_equal_image_of_which_another_object_was_rendered_is_rendered_anew(
    render: Renderer, rendered: RenderCache
) -> None:
    rendered.render(render, image())
    rendered.render(render, image())

    assert render.calls == 2


def test_no_image_is_taken_for_one_that_is_gone(render: Renderer, rendered: RenderCache) -> None:
    """An object's id is used again as soon as the object is gone."""
    for number in range(500):
        assert rendered.render(render, image(f"image-{number}")).startswith(b"image-%d " % number)


def test_an_image_that_the_catalogue_does_not_cache_is_not_cached(render: Renderer) -> None:
    one, other = image("one"), image("other")
    rendered = RenderCache(lambda image: 500 if image is one else 0, SIZE)

    for _ in range(3):
        assert rendered.render(render, one).startswith(b"one")
        assert rendered.render(render, other).startswith(b"other")

    assert len(rendered) == 1
    assert render.calls == 1 + 3


def test_renderings_are_bounded_in_bytes(render: Renderer, rendered: RenderCache) -> None:
    for number in range(5_000):
        rendered.render(render, image(f"image-{number}"))
        assert rendered.size <= SIZE

    assert rendered.size > SIZE // 2
    assert 400 < len(rendered) < 700


def test_the_images_that_the_renderings_hold_count() -> None:
    render, rendered = Renderer(0), RenderCache(lambda _: 5_000, SIZE)

    for number in range(1_000):
        rendered.render(render, image(f"image-{number}"))

    assert SIZE // 2 < rendered.size <= SIZE
    assert len(rendered) <= SIZE // 5_000


def test_a_rendering_that_is_too_large_is_not_cached(rendered: RenderCache) -> None:
    one, large = image(), Renderer(SIZE // MAX_PART)

    assert rendered.render(large, one) == rendered.render(large, one)

    assert large.calls == 2
    assert len(rendered) == 0


def test_the_parts_of_a_rendering_count(rendered: RenderCache) -> None:
    def headers(_: Image) -> list[tuple[bytes, bytes]]:
        return [(b"name", b"." * 1_000)] * 3

    rendered.render(headers, image())

    assert 3_500 < rendered.size < 4_500


def test_a_thousand_images_of_one_caller_leave_others_theirs(rendered: RenderCache) -> None:
    render, mine = Renderer(), [image(f"mine-{number}") for number in range(500)]
    for one in mine:
        rendered.render(render, one)

    for _ in range(3):
        for number in range(1_000):
            rendered.render(Renderer(), image(f"other-{number}"))

    render.calls = 0
    for one in mine:
        rendered.render(render, one)
    assert render.calls < len(mine) // 2


@pytest.fixture
def client(sqlite_database: str) -> Iterator[Client]:
    client = Client(make_settings(sqlite_database, registry__contract="queens"))
    yield client
    client.close()


def test_an_image_that_is_changed_is_rendered_anew(client: Client) -> None:
    image_id = client.add(name="name-0", properties={"a": "0"})["id"]
    paths = [f"/images/{image_id}", "/images", "/images/detail", f"/v2/images/{image_id}", "/v2/images"]

    for version in range(1, 6):
        for path in 4 * paths:
            assert f"name-{version - 1}" in client.get(path).text
        client.put(f"/images/{image_id}", {"image": {"name": f"name-{version}"}})

        for path in paths:
            shown = client.get(path).text
            assert f"name-{version}" in shown
            assert f"name-{version - 1}" not in shown
        assert client.get(paths[0]).headers["x-image-meta-name"] == f"name-{version}"
