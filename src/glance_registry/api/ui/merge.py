# SPDX-License-Identifier: Apache-2.0
"""Two changes of one image, brought together in its form: what somebody else saved, and what was entered meanwhile."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from glance_registry.api.ui.forms import Before, Entered, joined

_FIELDS = (("name", "Name"), ("visibility", "Visibility"), ("protected", "Protected"), ("os_hidden", "Hidden"))


class Changed(Struct, frozen=True):
    """What somebody else changed: as it was and as it is, empty when there is none; `yours` when both changed it."""

    what: str
    was: str
    now: str
    yours: bool


def merge(entered: Entered, before: Before, newer: Entered) -> tuple[Entered, list[Changed]]:
    """The form over the newer version, in which all that was changed by hand stays so; and what the others changed."""
    changes: list[Changed] = []
    fields: dict[str, Any] = {}
    for field, label in _FIELDS:
        was, mine, now = getattr(before, field), getattr(entered, field), getattr(newer, field)
        fields[field] = now if mine == was else mine
        if now != was:
            changes.append(Changed(label, _text(was), _text(now), mine != was))
    was_tags, my_tags, tags = set(before.tags), set(entered.tags), set(newer.tags)
    if tags != was_tags:
        changes.append(Changed("Tags", _lines(was_tags), _lines(tags), my_tags != was_tags))
    fields["tags"] = sorted(tags - (was_tags - my_tags) | (my_tags - was_tags))
    properties, more = _merge_properties(entered, before.properties, newer)
    return replace(newer, properties=properties, removed=entered.removed, **fields), changes + more


def _merge_properties(
    entered: Entered, before: Mapping[str, str], newer: Entered
) -> tuple[list[tuple[str, str]], list[Changed]]:
    mine = dict(entered.properties)
    now = {joined(name): joined(value) for name, value in newer.properties}
    # What was entered is compared without the blanks around a new name, which are not saved.
    touched = {name for name, value in mine.items() if value != before.get(name.strip(), before.get(name))}
    touched |= entered.removed
    changes = [
        Changed(name, before.get(name, ""), now.get(name, ""), name in touched)
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    merged = [
        (name, mine[joined(name)] if joined(name) in touched & mine.keys() else value)
        for name, value in newer.properties
    ]
    merged += [(name, value) for name, value in mine.items() if name in touched - entered.removed and name not in now]
    return merged, changes


def _text(value: str | bool) -> str:
    return value if isinstance(value, str) else "yes" if value else "no"


def _lines(tags: set[str]) -> str:
    return "\n".join(sorted(tags))
