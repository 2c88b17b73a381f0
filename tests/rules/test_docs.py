# SPDX-License-Identifier: Apache-2.0
"""The documentation says what the code does."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from glance_registry.settings import SETTINGS, STORE_SETTINGS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(DOCS.glob("*.md"))]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["api.md", "commands.md", "settings.md"])
def test_the_generated_parts_are_up_to_date(page: str) -> None:
    text = (DOCS / page).read_text()

    assert generator().generated(page, text) == text, "run: make docs"


def test_every_generated_part_has_its_place() -> None:
    for page, part in generator().PARTS:
        assert f"<!-- {part}: generated -->" in (DOCS / page).read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_that_a_page_names_exist(page: Path) -> None:
    known = {f"[{setting.group}] {setting.name}" for setting in (*SETTINGS, *STORE_SETTINGS)}
    known |= {f"[{group}] {name}" for setting in SETTINGS for group, name in setting.option.old_names}

    named = set(re.findall(r"`(\[[a-zA-Z]+\] [a-z0-9_]+)", page.read_text()))

    assert named <= known


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_prose_is_wrapped_at_100(page: Path) -> None:
    prose = re.sub(
        r"^```.*?^```|<!-- (\w+): generated -->.*?<!-- /\1 -->", "", page.read_text(), flags=re.DOTALL | re.M
    )

    assert [line for line in prose.splitlines() if len(line) > 100 and line[0] not in "|!"] == []


def records() -> list[tuple[str, str]]:
    """The headings and texts of the records in decisions.md."""
    parts = (DOCS / "decisions.md").read_text().split("\n## ")[1:]
    return [(heading, text) for heading, _, text in (part.partition("\n") for part in parts)]


@pytest.mark.parametrize(("heading", "text"), records(), ids=[heading for heading, _ in records()])
def test_a_record_has_a_date_and_three_paragraphs(heading: str, text: str) -> None:
    assert re.match(r"\d{4}-\d\d-\d\d \w", heading)
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_records_are_sorted_by_date() -> None:
    dates = [heading[:10] for heading, _ in records()]

    assert dates == sorted(dates)


def test_make_targets_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()

    for target in re.findall(r"`?make ([a-z]+)`?", (ROOT / "README.md").read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
