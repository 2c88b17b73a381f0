# SPDX-License-Identifier: Apache-2.0
"""How texts and searches are split into words."""

import pytest

from glance_registry.model.errors import Invalid
from glance_registry.model.search import MAX_TERM_LENGTH, MAX_TERMS, MAX_TEXT_LENGTH, has_terms, read_terms, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" - _ . ", []),
        ("Ubuntu-24.04_LTS", ["ubuntu", "24", "04", "lts"]),
        ("Café MÜNCHEN", ["cafe", "munchen"]),
        ("Straße", ["straße"]),
        ("Ελλάδα", ["ελλάδα"]),  # Only marks over letters of ASCII are left out.
    ],
)
def test_a_text_is_split_into_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("ubuntu", (("ubuntu",),)),
        ("Ubuntu-24.0 lts", (("ubuntu", "24", "0"), ("lts",))),
        ("lts LTS -", (("lts",),)),
        ("a" * MAX_TERM_LENGTH, (("a" * MAX_TERM_LENGTH,),)),
        (" ".join(f"w{n}" for n in range(MAX_TERMS)), tuple((f"w{n}",) for n in range(MAX_TERMS))),
    ],
)
def test_a_search_is_read(text: str, terms: tuple[tuple[str, ...], ...]) -> None:
    assert read_terms(text) == terms


@pytest.mark.parametrize(
    "text",
    ["", "  ", "- .", "a\0b", "a" * (MAX_TERM_LENGTH + 1), " ".join(f"w{n}" for n in range(MAX_TERMS + 1))],
    ids=["empty", "blank", "no-word", "nul", "long", "many"],
)
def test_what_cannot_be_searched_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        read_terms(text)


@pytest.mark.parametrize(
    ("texts", "search", "is_found"),
    [
        (["Ubuntu 24.04"], "ubu", True),
        (["Ubuntu 24.04"], "buntu", False),
        (["Ubuntu 24.04"], "24 ubuntu", True),
        (["Ubuntu 24.04"], "ubuntu-24.0", True),
        (["Ubuntu 24.04"], "ubuntu-04", False),
        (["Ubuntu 24.04"], "24.ubuntu", False),
        (["Ubuntu", "server lts"], "lts ubuntu", True),
        (["Ubuntu"], "ubuntu debian", False),
        (["Café"], "cafe", True),
        ([], "x", False),
        (["Café olé"], "CAFÉ-OLE", True),
        (["ubuntu"], "ubuntu-24", False),
        (["24 ubuntu 24.04"], "ubuntu-24.0", True),
        (["a b a c"], "a-c", True),
        (["Straße"], "strasse", False),
        (["x" * MAX_TEXT_LENGTH, "late"], "late", False),
    ],
)
def test_texts_have_all_terms(texts: list[str], search: str, is_found: bool) -> None:
    assert has_terms(texts, read_terms(search)) == is_found
