# SPDX-License-Identifier: Apache-2.0
"""Searching words: both databases find what a plain model finds, for whom it is, in order, page by page."""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import Connection
from tests.catalogue.examples import ADMIN, IMAGES, NOON, REGISTRY, after_noon, everything, image, upgrade
from tests.catalogue.test_migrations import INSERT, LOCATIONS, STEPS, execute, rows, run
from tests.speeds import scaled

from glance_registry.catalogue import images, members
from glance_registry.catalogue.base import Catalogue
from glance_registry.catalogue.listing import pages
from glance_registry.catalogue.purge import purge
from glance_registry.model.access import ANONYMOUS, Caller
from glance_registry.model.changes import Delete, SetField, SetProperties
from glance_registry.model.errors import Invalid
from glance_registry.model.image import Image
from glance_registry.model.query import TAG, Filter, Page, Query, Sort, View
from glance_registry.model.search import has_terms, read_terms

PIECES = (
    *("ubuntu", "Ubuntu", "24.04", "24", "04", "2", "amd64", "x86_64", "natty", "É", "e\u0301", "żółw", "Straße", "ά"),
    *("-", ".", "_", " ", " ", '"', "*", "AND", "OR", "NOT", "NEAR(", ")", "'", "\\", "<->", ":*", "&", "|", "!", "^"),
    *("\u0416", "\u0436", "中文", "İ", "ø", "/", "{", "%", "\n", "\u2028", "🐋"),
)
texts = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
pictured = st.fixed_dictionaries(
    {
        "name": texts | st.none(),
        "tags": st.frozensets(texts.filter(bool), max_size=2).map(lambda tags: tuple(sorted(tags))),
        "properties": st.dictionaries(st.sampled_from("abc"), texts, max_size=2),
    }
)


def has(example: Image, searched: str) -> bool:
    return has_terms([example.name or "", *example.tags, *example.properties.values()], read_terms(searched))


def search(searched: str, limit: int = 1_000, **question: Any) -> Query:
    return replace(everything(limit), terms=read_terms(searched), **question)


class Held:
    """A catalogue that a Hypothesis test fills again and again."""

    def __init__(self, loop: asyncio.Runner, catalogue: Catalogue) -> None:
        self._loop, self._catalogue, self._numbers = loop, catalogue, itertools.count()

    def write(self, operation: Any, *args: Any) -> Any:
        return self._loop.run(self._catalogue.write(operation, *args))

    def find(self, query: Query, caller: Caller = ADMIN) -> list[str]:
        return [found.id for found in self._loop.run(self._catalogue.read(images.find, query, caller))]

    def keep(self, fields: Sequence[dict[str, Any]]) -> list[Image]:
        kept = [image(f"i{(number := next(self._numbers))}", number, **each) for each in fields]
        self.write(images.add_all, [images.ImageRecord(each) for each in kept])
        return kept

    def clear(self, kept: Sequence[Image]) -> None:
        for each in kept:
            self.write(images.change, each.id, [Delete()], after_noon(1_000_000), ADMIN, REGISTRY)


@pytest.fixture
def held(loop: asyncio.Runner, catalogue: Catalogue) -> Held:
    return Held(loop, catalogue)


@pytest.mark.parametrize("most", [2_000, 0], ids=["gathered", "walked"])
def test_what_is_found_is_what_a_plain_model_finds(held: Held, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Along both ways, also after the images have changed and are gone."""
    monkeypatch.setattr(pages, "MAX_GATHERED", most)

    @settings(max_examples=scaled(25), phases=[phase for phase in Phase if phase is not Phase.shrink])
    @given(st.lists(pictured, min_size=1, max_size=4), pictured, st.lists(texts, min_size=1, max_size=5))
    def compare(fields: list[dict[str, Any]], changed: dict[str, Any], asked: list[str]) -> None:
        kept = held.keep(fields)
        kept[0] = replace(kept[0], **changed)
        changes = [SetField(name, value) for name, value in changed.items()]
        held.write(images.change, kept[0].id, changes, after_noon(1_000_000), ADMIN, IMAGES)
        try:
            for searched in asked:
                with suppress(Invalid):
                    query = search(searched)
                    expected = [each.id for each in reversed(kept) if has(each, searched)]
                    assert held.find(query) == expected, searched
        finally:
            held.clear(kept)
        assert held.find(search("ubuntu")) == []

    compare()


@pytest.mark.parametrize(
    ("searched", "found"),
    [
        ("ubuntu 24", True),
        ("UBUNTU", True),
        ("ubu", True),
        ("24.04", True),
        ("24.0", True),
        ("2.04", False),
        ("04.24", False),
        ("ubuntu-24.04-amd64", True),
        ("amd ubuntu", True),
        ("amd64 debian", False),
        ("buntu", False),
        ("lts", True),
        ("zolw", False),
        ("Kafe", True),
        ("KAFÉ", True),
        ("ubuntu ... !", True),
        ("os", False),
    ],
)
def test_words_and_their_beginnings_are_found(held: Held, searched: str, found: bool) -> None:
    held.keep([{"name": "ubuntu-24.04-amd64", "tags": ("lts",), "properties": {"os": "café"}}])

    assert held.find(search(searched.replace("Kafe", "Cafe").replace("KAFÉ", "CAFÉ"))) == (["i0"] if found else [])


@pytest.mark.parametrize(
    "hostile",
    [
        *(
            '"',
            "*",
            "' OR 1=1 --",
            '" OR "',
            "NEAR(a b, 3)",
            "a NOT b",
            "words : a",
            "{a b}",
            "^a",
            "a + b",
            "-a",
            "(",
            ")",
        ),
        *("a & !b", "a <-> b", "a:*", "a:A", "\\", "a\\'", "%", "_", "-a", "(", ")"),
        *("\ufffe a", "\u0301", "a\u0301", "²", "½", "हिन्दी", "한국어", "กขค", "𝒳", "🐋 a", "ﬁ", "\u200b", "a\u200bb"),
        *("a " * 16, "x" * 100, "x." * 50, "\x01", "a\x7f"),
    ],
)
def test_hostile_searches_find_or_are_refused(held: Held, hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held.keep([{"name": hostile or None, "properties": {"a": hostile}}, {"name": "other"}])
    try:
        query = search(hostile)
    except Invalid:
        return

    found = held.find(query)
    monkeypatch.setattr(pages, "MAX_GATHERED", 0)

    assert found in (["i0"], [])
    assert held.find(query) in (["i0"], [])


@pytest.mark.parametrize(
    "refused", ["", " ", "...", "\0", "a\0b", "a " * 5 + " ".join(map(str, range(17))), "x" * 101, "🐋"]
)
def test_a_search_without_words_or_with_too_many_is_refused_with_a_sentence(refused: str) -> None:
    with pytest.raises(Invalid, match=r"What is searched|At most 16 words"):
        read_terms(refused)


def test_long_texts_are_searched_to_a_bound_and_long_words_are_found(held: Held) -> None:
    text = f"{'x' * 3_000} {'word ' * 9_000} near {'word ' * 9_000} far"
    held.keep([{"name": "n", "properties": {"a": text}}])

    assert held.find(search("x" * 100)) == held.find(search("near")) == held.find(search("n")) == ["i0"]
    assert held.find(search("far")) == []


VISIBILITIES = ("public", "community", "shared", "private")


@pytest.mark.parametrize("most", [2_000, 0], ids=["gathered", "walked"])
def test_a_search_shows_nobody_more_than_a_list_does(held: Held, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_GATHERED", most)
    for owner, visibility in itertools.product(("mine", "theirs"), VISIBILITIES):
        held.write(images.add, image(f"{owner}-{visibility}", owner=owner, visibility=visibility, name="secret plan"))
    held.write(members.replace, "theirs-shared", {"mine": None}, NOON, ADMIN)
    callers = (ANONYMOUS, Caller(user="u", project="mine"), Caller(user="u", project="none"), Caller(user="u"), ADMIN)

    for caller, view in itertools.product(callers, (None, *map(View, (None, "all", *VISIBILITIES)))):
        listed = Query(page=Page(100), view=view)
        assert held.find(replace(listed, terms=read_terms("sec pl")), caller) == held.find(listed, caller)
        assert held.find(replace(listed, terms=read_terms("sec other")), caller) == []


SORTS = (Sort(), Sort("name", descending=False), Sort("size"), Sort("name", False, (("size", True), ("id", True))))


def _crowd() -> Iterator[dict[str, Any]]:
    for number in range(40):
        yield {
            "name": f"{('ubuntu', 'debian')[number % 2]}-{number // 3}",
            "size": number * 7 % 5,
            "tags": ("lts",) if number % 4 == 0 else (),
            "properties": {"os": "linux" if number % 3 else "plan 9"},
        }


QUESTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"properties": (("os", "linux"),)},
    {"properties": (("os", "linux"), (TAG, "lts"))},
    {"filters": (Filter("size", "ge", 2),)},
    {"filters": (Filter("disk_format", "eq", "raw"),)},
    {"changes_since": after_noon(10)},
)


@pytest.mark.parametrize("most", [2_000, 0], ids=["gathered", "walked"])
def test_filters_sorts_and_pages_are_those_of_every_list(
    held: Held, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MAX_GATHERED", most)
    kept = {each.id: each for each in held.keep(list(_crowd()))}

    for sort, question in itertools.product(SORTS, QUESTIONS):
        listed = replace(everything(), sort=sort, **question)
        expected = [each for each in held.find(listed) if has(kept[each], "ubuntu")]
        query, found = replace(listed, page=Page(4), terms=read_terms("ubuntu")), []
        while page := held.find(query):
            found += page
            query = replace(query, page=Page(4, page[-1]))
        assert found == expected, (sort, question)
        assert expected


def test_deleted_and_purged_images_are_not_found_and_leave_nothing(held: Held) -> None:
    held.keep([{"name": "gone first"}, {"name": "stays"}])
    held.write(images.change, "i0", [Delete()], after_noon(5), ADMIN, REGISTRY)
    assert held.find(search("gone")) == []
    assert held.find(search("gone", deleted=None)) == []

    assert held.write(purge, after_noon(9), after_noon(9), 10) == 1
    held.keep([{"name": "another"}])  # SQLite may give it the number of the purged one.

    assert held.find(search("gone")) == []
    assert held.find(search("another")) == ["i2"]
    assert held.find(search("stays")) == ["i1"]


def test_a_change_of_the_first_dialect_is_found(held: Held) -> None:
    held.keep([{"name": "before", "properties": {"a": "old"}}])
    changes = [SetField("name", "after"), SetProperties({"a": "new"})]
    held.write(images.change, "i0", changes, after_noon(1), ADMIN, REGISTRY)

    assert held.find(search("after new")) == ["i0"]
    assert held.find(search("before")) == held.find(search("old")) == []


def test_a_failed_write_leaves_no_words(held: Held) -> None:
    def fail(connection: Connection) -> None:
        images.add(connection, image("lost", name="lost"))
        raise Invalid("no")

    with pytest.raises(Invalid):
        held.write(fail)

    assert held.find(search("lost")) == []


@pytest.mark.parametrize("step", STEPS[:-1])
def test_images_of_before_and_those_that_an_older_release_writes_are_found(empty_database: str, step: str) -> None:
    upgrade(empty_database, step)
    values = {"at": 1, "deleted_at": None, "protected": False, "locations": LOCATIONS}
    run(empty_database, execute, INSERT, [{"id": "a", "name": "Grün", "properties": '{"a":"x y"}', **values}])
    upgrade(empty_database)
    # The statements that the older release goes on writing.
    run(empty_database, execute, INSERT, [{"id": "b", "name": "grun 2", "properties": '{"a":"x"}', **values}])
    run(empty_database, execute, "UPDATE images SET name = 'blau', version = 4 WHERE id = 'a'")
    run(empty_database, execute, INSERT, [{"id": "c", "name": "blau", "properties": "{}", **values}])
    run(empty_database, execute, "UPDATE images SET deleted_at = 5, version = 4 WHERE id = 'c'")

    def find(searched: str) -> list[str]:
        return [found.id for found in run(empty_database, images.find, search(searched), ADMIN)]

    assert (find("grün"), find("BLAU y"), find("x")) == (["b"], ["a"], ["b", "a"])
    assert run(empty_database, rows, "SELECT count(*) FROM images") == [(3,)]
