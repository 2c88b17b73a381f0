# SPDX-License-Identifier: Apache-2.0
"""Searches in the index of words: FTS5 on SQLite, `tsvector` with GIN on PostgreSQL. `triggers.py` creates it."""

from typing import Any

from sqlalchemy import BigInteger, Boolean, ColumnElement, FromClause, Select, Text, bindparam, column, select
from sqlalchemy.ext.compiler import compiles

from glance_registry.catalogue.tables import images
from glance_registry.model.search import Term

WORDS = "words"
"""The parameter with the search in the database's own syntax."""
TERMS = "terms"
"""The parameter with the search as a JSON list of lists of words."""
_LAST_LETTER = "\U0010ffff"
_FIRST, _BEHIND = "first_word", "behind_word"
"""Parameters for a search of one word: the first word that begins so, and a text after all such words."""


def parameters(database: str, terms: tuple[Term, ...]) -> dict[str, str]:
    word = terms[0][0]
    return {WORDS: _expression(database, terms), _FIRST: word, _BEHIND: word + _LAST_LETTER}


def is_one_word(terms: tuple[Term, ...]) -> bool:
    """Whether the search is one word that the index has with the same letters: it changes words that are not ASCII."""
    return len(terms) == len(terms[0]) == 1 and terms[0][0].isascii()


def _expression(database: str, terms: tuple[Term, ...]) -> str:
    """The search for FTS5 or `to_tsquery`. Words have only letters and digits, so nothing is escaped."""
    if database == "sqlite":
        return " AND ".join(f'"{" ".join(term)}" *' for term in terms)
    return " & ".join("(" + " <-> ".join(f"'{word}'" for word in term) + ":*)" for term in terms)


class _Found(FromClause):
    """The numbers of up to `limit` images that match the search."""

    inherit_cache = False

    def __init__(self, limit: int, one_word: bool) -> None:
        self.wanted, self.first, self.behind = (bindparam(name, type_=Text()) for name in (WORDS, _FIRST, _BEHIND))
        self.limit = limit
        self.one_word = one_word


def found(limit: int, *, one_word: bool) -> Select[Any]:
    return select(column("number", BigInteger())).select_from(_Found(limit, one_word))


@compiles(_Found, "sqlite")
def _found_on_sqlite(element: _Found, compiler: Any, **options: Any) -> str:
    del options["asfrom"]
    wanted, first, behind = (
        compiler.process(part, **options) for part in (element.wanted, element.first, element.behind)
    )
    if element.one_word:
        # For words that begin so, FTS5 first merges the lists of all their images, which takes many milliseconds if
        # very many images have them. The table of positions is read row by row, up to the limit.
        positions = f"image_words_places WHERE term >= {first} AND term < {behind}"
        return f"(SELECT DISTINCT doc AS number FROM {positions} LIMIT {element.limit})"  # noqa: S608 - constants
    return f"(SELECT rowid AS number FROM image_words(unhurried({wanted})) LIMIT {element.limit})"  # noqa: S608


@compiles(_Found, "postgresql")
def _found_on_postgresql(element: _Found, compiler: Any, **options: Any) -> str:
    del options["asfrom"]
    wanted = compiler.process(element.wanted, **options)
    return f"image_words_found(CAST({wanted} AS tsquery), {element.limit}) AS found(number)"


class has_words(ColumnElement[bool]):  # noqa: N801
    """Whether an image matches the search, checked for each image of a walk.

    FTS5 would read a word's whole list of images for each image. So SQLite calls a function of ours (`sqlite.file`).
    """

    inherit_cache = True
    type = Boolean()

    def __init__(self) -> None:
        self.wanted = bindparam(WORDS, type_=Text())
        self.terms = bindparam(TERMS, type_=Text())
        self.number = images.c.number
        self.texts = [images.c.name, images.c.tags, images.c.properties]


@compiles(has_words, "sqlite")
def _has_words_on_sqlite(element: has_words, compiler: Any, **options: Any) -> str:
    columns = [*element.texts, element.terms]
    return f"has_words({', '.join(compiler.process(column, **options) for column in columns)})"


@compiles(has_words, "postgresql")
def _has_words_on_postgresql(element: has_words, compiler: Any, **options: Any) -> str:
    number, wanted = (compiler.process(part, **options) for part in (element.number, element.wanted))
    words = f"(SELECT image_words.words FROM image_words WHERE image_words.image_number = {number})"  # noqa: S608 - a constant
    return f"{words} @@ CAST({wanted} AS tsquery)"
