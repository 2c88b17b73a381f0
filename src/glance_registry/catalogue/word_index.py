# SPDX-License-Identifier: Apache-2.0
"""Searching the index of words: FTS5 on SQLite, `tsvector` with GIN on PostgreSQL. `word_triggers` keeps it."""

from typing import Any

from sqlalchemy import BigInteger, Boolean, ColumnElement, FromClause, Select, Text, bindparam, column, select
from sqlalchemy.ext.compiler import compiles

from glance_registry.catalogue.tables import images
from glance_registry.model.words import Term

WORDS = "words"
"""The parameter that says what is searched, in the database's own language."""
TERMS = "terms"
"""The same as a JSON list of lists of words."""


def expression(database: str, terms: tuple[Term, ...]) -> str:
    """What is searched, as FTS5 or as `to_tsquery` reads it. Words have only letters and digits: nothing to escape."""
    if database == "sqlite":
        return " AND ".join(f'"{" ".join(term)}" *' for term in terms)
    return " & ".join("(" + " <-> ".join(f"'{word}'" for word in term) + ":*)" for term in terms)


class _Found(FromClause):
    """The numbers of at most so many images that have what is searched."""

    inherit_cache = False

    def __init__(self, most: int) -> None:
        self.wanted = bindparam(WORDS, type_=Text())
        self.most = most


def found(most: int) -> Select[Any]:
    return select(column("number", BigInteger())).select_from(_Found(most))


@compiles(_Found, "sqlite")
def _found_on_sqlite(element: _Found, compiler: Any, **options: Any) -> str:
    del options["asfrom"]
    wanted = compiler.process(element.wanted, **options)
    return f"(SELECT rowid AS number FROM image_words({wanted}) LIMIT {element.most})"  # noqa: S608 - two constants


@compiles(_Found, "postgresql")
def _found_on_postgresql(element: _Found, compiler: Any, **options: Any) -> str:
    del options["asfrom"]
    wanted = compiler.process(element.wanted, **options)
    return f"image_words_found(CAST({wanted} AS tsquery), {element.most}) AS found(number)"


class has_words(ColumnElement[bool]):  # noqa: N801
    """Whether an image has what is searched: asked of one image after the other, as a walk comes to it.

    FTS5 would read the whole list of a word's images for each; so SQLite asks the program (`sqlite.connect`).
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
