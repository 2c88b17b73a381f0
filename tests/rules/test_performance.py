# SPDX-License-Identifier: Apache-2.0
"""docs/performance.md and its plot say what docs/performance.json says, which `make performance` measured."""

import json
from typing import Any
from xml.etree import ElementTree

import pytest
from bench.aims import aims
from bench.svg import Line, Panel, figure

from bench import plot

REPORT: dict[str, Any] = json.loads(plot.RESULT.read_text())


def test_the_page_is_made_of_the_measured_figures() -> None:
    text = plot.PAGE.read_text()

    assert plot.renewed(text, REPORT) == text, "run: .venv/bin/python -m bench.plot"


def test_the_plot_is_made_of_the_measured_figures() -> None:
    assert plot.PLOT.read_text() == plot.plot(REPORT), "run: .venv/bin/python -m bench.plot"


@pytest.mark.parametrize("part", plot.PARTS)
def test_every_generated_part_has_its_place(part: str) -> None:
    assert f"<!-- {part}: generated -->" in plot.PAGE.read_text()


def test_the_aims_are_those_of_today() -> None:
    assert REPORT["aims"] == aims(REPORT["parts"])


def test_a_plot_is_well_formed_whatever_its_labels_say() -> None:
    lines = [Line("a < b & c", {10: 0.5, 1000: 2.0}, 0), Line("d", {10: 1.0, 1000: 1.0}, 1, dashed=True)]

    drawn = ElementTree.fromstring(figure([Panel("title", "unit", lines)] * 3, "for all"))

    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("a < b & c") == 3
    assert {"0.1", "1", "10", "1,000"} <= {*texts}


def test_lines_that_end_at_one_place_have_labels_apart() -> None:
    lines = [Line(str(number), {10: 1.0, 100: 5.0}, number) for number in range(4)]

    drawn = ElementTree.fromstring(figure([Panel("title", "unit", lines)], "for all"))

    heights = [
        float(each.get("y", 0)) for each in drawn.iter("{http://www.w3.org/2000/svg}text") if each.text in "0123"
    ]
    gaps = [below - above for above, below in zip(sorted(heights)[:-1], sorted(heights)[1:], strict=True)]
    assert len(heights) >= 4
    assert min(gaps) > 10
