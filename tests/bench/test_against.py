# SPDX-License-Identifier: Apache-2.0
"""Two checkouts compared: what may be compared, and what the figures come to."""

import sys
from pathlib import Path
from typing import Any

import pytest
from bench.__main__ import AGAINST, _read_arguments
from bench.against import Both, _grow, _run, prepare, ratios, start
from bench.catalogues import SMALLEST
from bench.databases import SqliteDatabases
from bench.measures import Options
from bench.servers import ROOT, interpreter

from bench import against


def comparison(rate: float, cpu: float) -> dict[str, Any]:
    return {"subject": {}, "other": {}, "ratio": {"median": rate}, "cpu_ratio": {"median": cpu}}


def wait(median: float, fastest: float) -> dict[str, Any]:
    grown = {"ratio": {"subject": {"median": median}}, "ratio_of_fastest": {"subject": {"median": fastest}}}
    return {"milliseconds": {}, **grown}


def test_more_than_one_is_better_whatever_is_measured() -> None:
    parts = {
        "sqlite-start": {"seconds": {"other": {}, "subject": {}, "ratio": {"median": 1.25}}, "measured": {}},
        "sqlite-get": {"cold": comparison(0.96, 1.5), "measured": {}},
        "sqlite-post": {"one_client": comparison(1.0, 0.97), "gain": {"subject": {}, "other": {}}},
        "sqlite-waits": {"reads": {"get": wait(0.5, 2.0)}, "writes": {}},
    }

    found = [(each["part"], each["what"], each["measured"], each["met"]) for each in ratios(parts)]

    assert found == [
        ("sqlite-start", "seconds", 0.8, False),
        ("sqlite-get", "cold: rate", 0.96, False),
        ("sqlite-get", "cold: CPU time", 1.5, True),
        ("sqlite-post", "one_client: rate", 1.0, True),
        ("sqlite-post", "one_client: CPU time", 0.97, True),
        ("sqlite-waits", "reads: get: wait", 2.0, True),
        ("sqlite-waits", "reads: get: the fastest tenth", 0.5, False),
    ]


def test_parts_of_a_comparison_are_separated_by_commas() -> None:
    given = _read_arguments(["--against", str(ROOT), "--only", "sqlite-get,postgresql-w"])

    assert given.parts == ["sqlite-get", "postgresql-waits"]
    assert _read_arguments(["--against", str(ROOT)]).parts == AGAINST


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--against", str(ROOT), "--scale", "2000"], "at one size"),
        (["--against", str(ROOT / "docs")], "no checkout"),
        (["--against", str(ROOT), "--only", "sqlite-scale"], "no part is called so"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        _read_arguments(arguments)

    assert reason in capsys.readouterr().err


def test_a_checkout_runs_in_its_own_environment_or_in_ours(tmp_path: Path) -> None:
    assert interpreter(tmp_path) == interpreter(ROOT) == sys.executable
    own = tmp_path / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.touch()

    assert interpreter(tmp_path) == str(own)


@pytest.mark.external
def test_a_checkout_with_other_tables_fills_its_own_catalogue(tmp_path: Path) -> None:
    kept = SqliteDatabases(tmp_path)
    ours = _run(ROOT, against._EDITION).strip()

    assert kept.of_edition(ours, lambda *_: None) is kept
    assert kept.of_edition("older", lambda *_: None) is not kept
    _grow(ROOT, f"sqlite:///{tmp_path / 'grown.sqlite'}", 0, 10)
    assert (tmp_path / "grown.sqlite").stat().st_size > 0


@pytest.mark.external
def test_two_checkouts_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(against, "STARTS", 1)
    options = Options(images=SMALLEST, rounds=1, seconds=0.1, scale=(), say=lambda _: None)
    both: Both = prepare(SqliteDatabases(tmp_path), tmp_path, options, ROOT)

    figures = start(both)

    assert figures["seconds"].keys() == {"other", "subject", "ratio"}
    assert {path.name for path in tmp_path.glob("*.log")} == {"subject.log", "other.log"}
    assert not list(tmp_path.glob("copy_*"))
