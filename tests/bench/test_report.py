# SPDX-License-Identifier: Apache-2.0
"""What `make bench` may be asked for, what it asks, and what it aims at."""

import json
from typing import Any

import pytest
from bench.__main__ import PARTS, _read_arguments
from bench.catalogues import HUGE, RARE, SMALLEST, TENANT
from bench.deletions import every_other
from bench.document import written
from bench.questions import asked_for, reads, writes

from bench import aims
from glance_registry.model.query import SORT_KEYS


def parts(*arguments: str) -> list[str]:
    return _read_arguments(arguments).parts


def test_without_sizes_the_parts_that_compare_sizes_are_left_out() -> None:
    assert parts() == [
        *(f"sqlite-{part}" for part in (*PLAIN, "upload", "download")),
        *(f"postgresql-{part}" for part in PLAIN),
    ]


PLAIN = ("start", "idle", "get", "list", "post")


def test_sizes_and_a_peer_add_parts() -> None:
    assert {*parts("--scale", "2000,10000")} - {*parts()} == {
        f"{kind}-{part}" for kind in ("sqlite", "postgresql") for part in ("scale", "move", "purge")
    }
    assert parts("--scale", "2000,10000", "--peer", "glance") == PARTS
    assert parts("--peer", "glance") == parts()  # Transfers are compared with it at any size.


def test_sizes_are_compared_in_their_order() -> None:
    assert _read_arguments(["--scale", "100000,2000,2000"]).scale == (2000, 100_000)


def test_only_takes_parts_and_how_their_names_begin() -> None:
    assert parts("--only", "sqlite-get", "--only", "postgresql-p") == ["sqlite-get", "postgresql-post"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--only", "mysql"], "no part is called so"),
        (["--only", "sqlite-scale"], "no part is called so"),
        (["--scale", "10"], f"at least {SMALLEST} images"),
        (["--scale", "many"], "invalid"),
        (["--image-mib", "1"], "at least 16 MiB"),
        (["--scale", "2000", "--peer", "other"], "invalid choice"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parts(*arguments)

    assert reason in capsys.readouterr().err


def test_a_report_has_a_line_for_each_figure_and_loses_nothing() -> None:
    report = {"parts": {"sqlite-list": {"ratio": {"rounds": [1.0, 2.5], "median": 1.75}, "answer_bytes": 7}}}

    text = written(report)

    assert json.loads(text) == report
    assert '"ratio": { "rounds": [ 1.0, 2.5 ], "median": 1.75 },' in text


def test_every_size_is_asked_the_same_questions() -> None:
    names = [question.name for question in reads(2000)]

    assert names == [question.name for question in reads(9000)]
    assert len(names) == len({*names})
    for key in SORT_KEYS:
        for caller in ("public", "project", "everything"):
            assert f"page {caller} {key} first" in names
            assert f"page {caller} {key} middle" in names


def test_each_write_is_another_one() -> None:
    for question in writes(2000):
        assert next(question.requests) != next(question.requests)


def test_no_registration_makes_a_rare_kind_of_image_common() -> None:
    register = next(question for question in writes(2000) if question.name == "post").requests
    sent = [json.loads(next(register).partition(b"\r\n\r\n")[2])["image"] for _ in range(1000)]

    assert not any(RARE[0] in image["properties"] or (image["size"] or 0) >= HUGE for image in sent)
    assert TENANT not in {image["owner"] for image in sent}


def scale(**ratios: float) -> dict[str, Any]:
    reads = {name.replace("_", " "): {"ratio": {"1000000": {"median": ratio}}} for name, ratio in ratios.items()}
    return {"sizes": [10_000, 1_000_000], "reads": reads, "file_bytes": {"10000": 9e6, "1000000": 1.4e9}}


def test_of_the_pages_of_a_caller_the_worst_order_counts() -> None:
    found = aims.aims({"sqlite-scale": scale(page_public_name_first=1.2, page_public_size_first=1.6, get=1.0)})

    assert [(aim["measured"], aim["met"]) for aim in found] == [(1.6, False), (1.0, True), (1_400_000_000, True)]
    assert "page public, worst order" in found[0]["what"]


def test_a_cold_page_has_an_aim_of_its_own() -> None:
    found = aims.aims({"sqlite-scale": scale(page_public_name_first=1.2, page_public_name_cold=1.6)})

    assert [aim["measured"] for aim in found if "wait" in aim["what"]] == [1.2, 1.6]
    assert {f"{name}{aims.COLD}" for name in ("get", "v2 get")} <= {question.name for question in reads(2000)}


def test_a_get_counts_when_it_is_cold_as_in_reports_that_know_no_other() -> None:
    cold, hot = {"ratio": {"median": 0.5}}, {"ratio": {"median": 0.7}}

    assert [aim["measured"] for aim in aims.aims({"sqlite-get": {"hot": hot, "cold": cold}})] == [0.5]
    assert aims.aims({"sqlite-get": cold}) == aims.aims({"sqlite-get": {"hot": hot, "cold": cold}})


def test_known_costs_have_no_aim_but_are_questions() -> None:
    assert {*aims.NO_AIM} <= {question.name for question in reads(2000)}
    assert not [aim for aim in aims.aims({"sqlite-scale": scale(**{aims.NO_AIM[0]: 40.0})}) if "wait" in aim["what"]]


def test_the_incumbent_counts_on_sqlite_at_a_hundred_thousand_images() -> None:
    cases = {name: {"ratio": {"median": 60.0}} for name in aims.TO_PEER}

    found = aims.aims({"sqlite-peer": {"sizes": {"100000": cases}}, "postgresql-peer": {"sizes": {"100000": cases}}})

    assert len(found) == len(aims.TO_PEER)
    met = {aim["what"].partition(" at ")[0]: (aim["at_least"], aim["met"]) for aim in found}
    for dialect in ("", "Images API: "):
        assert met[f"{dialect}show"] == (25.0, True)
        assert met[f"{dialect}page of a project"] == (200.0, False)
        assert met[f"{dialect}page of everything"] == (200.0, False)
        assert met[f"{dialect}create"] == (50.0, True)
    assert met["Images API: patch"] == met["Images API: tag"] == (50.0, True)


def test_an_import_is_compared_with_its_aim_and_the_memory_of_exports_with_each_other() -> None:
    moves = {
        "import": {"100000": {"seconds": 70.0}},
        "export": {"10000": {"peak_rss_mib": 50.0}, "100000": {"peak_rss_mib": 55.0}},
    }

    found = aims.aims({"sqlite-move": moves})

    assert [(aim["at_most"], aim["measured"], aim["met"]) for aim in found] == [(60.0, 70.0, False), (1.2, 1.1, True)]


def test_after_deletions_and_after_a_purge_the_question_that_slows_most_counts_and_so_does_the_longest_wait() -> None:
    def reads(state: str, **ratios: float) -> dict[str, Any]:
        return {state: {name: {"ratio": {state: {"median": ratio}}} for name, ratio in ratios.items()}}

    states = reads("half deleted", get=1.0, page=1.4) | reads("purged", get=1.6, page=1.1)
    figures = {"size": 100_000, "reads": states, "writer": {"beside_purge": {"longest": 40.0}}}

    found = aims.aims({"postgresql-purge": figures})

    assert [(aim["measured"], aim["met"]) for aim in found] == [(1.4, True), (1.6, False), (40.0, True)]
    assert "(page)" in found[0]["what"]
    assert "(get)" in found[1]["what"]


def test_what_is_deleted_is_nothing_that_is_asked_for() -> None:
    deleted = every_other(9000)

    assert len(deleted) > 9000 / 5
    assert not asked_for(9000) & {*deleted}
