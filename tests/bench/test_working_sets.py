# SPDX-License-Identifier: Apache-2.0
"""What measures ask for: a few images again and again, or ever others from all over the catalogue."""

import pytest
from bench.catalogues import catalogue
from bench.working_sets import COLD, HOT, cold, hot, pages, shows

from glance_registry.catalogue.image_cache import MAX_BYTES

SIZE = 3_000
LIVE = {each.image.id for each in catalogue(0, SIZE) if not each.image.deleted}


def test_caches_hold_the_hot_set_and_not_the_cold_one() -> None:
    at_most, at_least = 16_384, 900  # Bytes that an image of these catalogues takes there.

    assert HOT * at_most < MAX_BYTES
    assert COLD * at_least > 2 * MAX_BYTES


def test_the_cold_set_is_all_of_a_small_catalogue_each_image_once_and_in_no_order() -> None:
    found = [image.id for image in cold(range(SIZE))]

    assert len(found) == len(LIVE)
    assert {*found} == LIVE
    assert found != [each.image.id for each in catalogue(0, SIZE) if each.image.id in LIVE]


def test_a_set_is_the_same_on_every_run_and_of_these_numbers_alone() -> None:
    odd = {each.image.id for number, each in enumerate(catalogue(0, SIZE)) if number % 2}

    assert hot(range(SIZE)) == hot(range(SIZE))
    assert {image.id for image in cold(range(1, SIZE, 2))} == odd & LIVE


def test_both_dialects_are_asked_for_the_same() -> None:
    shown, listed = shows(SIZE), pages(SIZE)

    assert shown.keys() == listed.keys() == {"hot", "cold", "Images API: hot", "Images API: cold"}
    for working_set in ("hot", "cold"):
        assert [f"/v2{path}" for path in shown[working_set]] == shown[f"Images API: {working_set}"]
    assert len(listed["hot"]) == 1
    assert len({*listed["cold"]}) == len({*listed["Images API: cold"]}) == len(LIVE)
    assert [path.rpartition("=")[2] for path in listed["cold"]] == [
        path.rpartition("=")[2] for path in listed["Images API: cold"]
    ]


@pytest.mark.slow
def test_of_a_large_catalogue_the_cold_set_is_a_part() -> None:
    drawn = cold(range(3 * COLD))

    assert COLD / 2 < len(drawn) < COLD
    assert len({image.id for image in drawn}) == len(drawn)
    assert HOT / 2 < len(hot(range(3 * COLD))) <= HOT
