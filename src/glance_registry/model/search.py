# SPDX-License-Identifier: Apache-2.0
"""The words of a text, and of what is searched: runs of letters and digits, without case and accents.

Both databases split texts into words by themselves, so that they index also what an older release writes. For letters
and digits of ASCII and the alphabets of Europe they agree with this module; elsewhere they may split otherwise.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from glance_registry.model.errors import Invalid

MAX_TERMS = 16
MAX_TERM_LENGTH = 100
"""Characters. The databases tell longer words apart than anybody asks for."""

MAX_TEXT_LENGTH = 50_000
"""Characters of one image that are searched, name, tags and values together."""

Term = tuple[str, ...]
"""Words that follow one another; the last one may go on: `ubuntu-24.0` is the term `ubuntu`, `24`, `0`."""

_MARKS = re.compile("([a-z])[\u0300-\u036f]+")
_SEPARATORS = re.compile(r"[\W_]+")


def words(text: str) -> list[str]:
    """The words of a text, in their order."""
    lowered = text.lower()
    if not lowered.isascii():
        # Only letters that are one of ASCII's beneath lose their marks: so it is in SQLite's index.
        lowered = unicodedata.normalize("NFC", _MARKS.sub(r"\1", unicodedata.normalize("NFD", lowered)))
    return [word for word in _SEPARATORS.split(lowered) if word]


def read_terms(text: str) -> tuple[Term, ...]:
    """What is searched: all terms between blanks, in any order. Raises Invalid."""
    if "\0" in text:
        raise Invalid("What is searched must not contain the character NUL.")
    terms = tuple(dict.fromkeys(term for given in text.split() if (term := tuple(words(given)))))
    if not terms:
        raise Invalid("What is searched must have a letter or a digit.")
    if len(terms) > MAX_TERMS or any(sum(map(len, term)) > MAX_TERM_LENGTH for term in terms):
        raise Invalid(f"At most {MAX_TERMS} words can be searched, of at most {MAX_TERM_LENGTH} characters each.")
    return terms


def has_terms(texts: Iterable[str], terms: Sequence[Term]) -> bool:
    """Whether these texts, one after the other, have all the terms."""
    text = " ".join(texts)[:MAX_TEXT_LENGTH].lower()
    if text.isascii() and any(word not in text for term in terms for word in term):
        return False  # Most images, and ten times as fast.
    found = words(text)
    return all(_has(found, term) for term in terms)


def _has(found: Sequence[str], term: Term) -> bool:
    *whole, beginning = term
    positions = range(len(whole), len(found)) if len(found) > len(whole) else ()
    return any(
        found[position].startswith(beginning) and list(found[position - len(whole) : position]) == whole
        for position in positions
    )
