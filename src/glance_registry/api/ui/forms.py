# SPDX-License-Identifier: Apache-2.0
"""The form with which people change an image: what was entered, and what that changes."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from glance_registry.api.errors import UnsupportedType
from glance_registry.api.v2.offer import Offer
from glance_registry.api.v2.wire import FIELDS, NUMBERS, check_may_name
from glance_registry.model.changes import Change, RemoveProperty, SetField, SetProperty, SetTags, as_tag
from glance_registry.model.errors import Invalid
from glance_registry.model.image import MAX_PROPERTIES_SETTING, Image

MEDIA_TYPE = "application/x-www-form-urlencoded"
MAX_FIELDS = 4 * MAX_PROPERTIES_SETTING
"""Three for each property, and a few."""
NEW_PROPERTIES = 3
"""Empty lines for further properties."""

_ATTRIBUTES = frozenset({*FIELDS, *NUMBERS, "tags"})


class Entered(Struct, frozen=True):
    """What stands in the form. `tag` is the ETag of the image that it was made of."""

    tag: str
    name: str
    visibility: str
    protected: bool
    os_hidden: bool
    tags: Sequence[str]
    properties: Sequence[tuple[str, str]]
    removed: frozenset[str] = frozenset()


class Before(Struct, frozen=True):
    """An image's values when its form was made; the form sends them back, in JSON, to tell what was changed in it."""

    name: str
    visibility: str
    protected: bool
    os_hidden: bool
    tags: list[str]
    properties: dict[str, str]


def read_form(body: bytes, content_type: str) -> list[tuple[str, str]]:
    """The fields of a form as a browser sends it. Raises UnsupportedType or Invalid."""
    if content_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise UnsupportedType(f"A form's Content-Type must be {MEDIA_TYPE}.", ())
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise Invalid(f"The form is not UTF-8, or has more than {MAX_FIELDS} fields.") from None
    if any("\0" in name + value for name, value in pairs):
        raise Invalid("The form holds a NUL character.")
    return pairs


def form_of(image: Image, tag: str) -> Entered:
    """The form as it is first shown."""
    return Entered(
        tag=tag,
        name=_one_line(image.name or ""),
        visibility=image.visibility,
        protected=image.protected,
        os_hidden=image.os_hidden,
        tags=[tag for tag in image.tags if _is_line(tag)],
        properties=list(_texts(image).items()),
    )


def before_of(image: Image) -> str:
    """The values that the form of this image sends back."""
    shown = form_of(image, "")
    before = Before(
        name=shown.name,
        visibility=shown.visibility,
        protected=shown.protected,
        os_hidden=shown.os_hidden,
        tags=list(shown.tags),
        properties={joined(name): joined(value) for name, value in shown.properties},
    )
    return msgspec.json.encode(before).decode()


def read_entered(pairs: Sequence[tuple[str, str]]) -> tuple[Entered, Before]:
    """What was entered, and the values before that. Raises Invalid for a form that is not ours."""
    given = dict(pairs)
    names = [joined(value) for name, value in pairs if name == "property"]
    values = [joined(value) for name, value in pairs if name == "value"]
    if not given.keys() >= {"tag", "before", "name", "visibility", "tags"} or len(names) != len(values):
        raise Invalid("The form is not complete.")
    try:
        before = msgspec.json.decode(given["before"], type=Before)
    except msgspec.DecodeError:
        raise Invalid("The form is not complete.") from None
    entered = Entered(
        tag=given["tag"],
        name=_one_line(given["name"]),
        visibility=given["visibility"],
        protected="protected" in given,
        os_hidden="os_hidden" in given,
        tags=[as_tag(line) for line in joined(given["tags"]).split("\n") if as_tag(line)],
        properties=[(name, value) for name, value in zip(names, values, strict=True) if name.strip() or value],
        removed=frozenset(joined(value) for name, value in pairs if name == "remove"),
    )
    return entered, before


def read_changes(entered: Entered, image: Image, offer: Offer) -> list[Change]:
    """What must be done that the image is as it was entered. What was not touched stays, to the letter.

    Raises Invalid or Forbidden.
    """
    fields = _changed_fields(entered, image)
    changes: list[Change] = [
        SetTags(tuple(value)) if name == "tags" else SetField(name, value) for name, value in fields.items()
    ]
    # A browser makes one kind of line break of all.
    texts = _texts(image)
    names = {joined(name): name for name in texts}
    properties: dict[str, str] = {}
    for shown, value in entered.properties:
        name = names.get(shown, shown.strip())
        if shown in entered.removed and name in texts:
            changes.append(RemoveProperty(name))
        elif name not in texts or value != joined(texts[name]):
            _check_new(name, properties)
            properties[name] = value
    offer.schemas.check_part({**fields, **properties})
    return [*changes, *(SetProperty(name, value) for name, value in properties.items())]


def _texts(image: Image) -> dict[str, str]:
    """The properties that can be entered; one without a value stays as it is, unless it is entered as a new one."""
    return {name: value for name, value in image.properties.items() if value is not None}


def _changed_fields(entered: Entered, image: Image) -> Mapping[str, Any]:
    before = form_of(image, entered.tag)
    wanted: dict[str, Any] = {
        name: getattr(entered, name)
        for name in ("name", "visibility", "protected", "os_hidden")
        if getattr(entered, name) != getattr(before, name)
    }
    tags = {*entered.tags, *(tag for tag in image.tags if not _is_line(tag))}
    if tags != set(image.tags):
        wanted["tags"] = list(tags)
    return wanted


def _check_new(name: str, others: Mapping[str, str]) -> None:
    if not name:
        raise Invalid("A property needs a name.")
    if name in others:
        raise Invalid(f"Property '{name}' was entered twice.")
    if name in _ATTRIBUTES:
        raise Invalid(f"'{name}' is no property: every image has it.")
    check_may_name(name)


def _is_line(tag: str) -> bool:
    """Whether a tag can be entered as a line of its own; any other one has no place in the form, and stays."""
    return tag == as_tag(tag) and tag == joined(tag) and "\n" not in tag


def _one_line(text: str) -> str:
    """As browsers keep the text of a field with one line."""
    return text.replace("\r", "").replace("\n", "")


def joined(text: str) -> str:
    """With the one kind of line break that the form is compared in."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
