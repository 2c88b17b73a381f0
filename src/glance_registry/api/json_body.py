# SPDX-License-Identifier: Apache-2.0
"""From a request's body to typed values, or an error that says what is wrong with it."""

import re
from typing import Any, TypeVar

import msgspec

from glance_registry.model.errors import Invalid

T = TypeVar("T")

MAX_NESTING = 64
"""Levels of nesting in a body, so few that no reader's stack overflows."""

_TRUTHS = {
    **dict.fromkeys(("true", "t", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "off", "0"), False),
}


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; of a repeated key the last one counts. Raises Invalid."""
    value = _read_json(body)
    if not isinstance(value, dict):
        raise Invalid("The body must be a JSON object.")
    return value


def read_list(body: bytes) -> list[Any]:
    """The JSON list in a body. Raises Invalid."""
    value = _read_json(body)
    if not isinstance(value, list):
        raise Invalid("The body must be a JSON list.")
    return value


def _read_json(body: bytes) -> Any:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"The body is not valid JSON: {error}.") from None
    except RecursionError:
        raise Invalid("The body is not valid JSON: it is nested too deeply.") from None
    if body.count(b"{") + body.count(b"[") > MAX_NESTING and _is_deeper_than(MAX_NESTING, value):
        raise Invalid(f"The body is nested more than {MAX_NESTING} levels deep.")
    if b"\\u0000" in body:
        _refuse_nul(value)
    return value


def convert(value: Any, kind: type[T]) -> T:
    """The value in its type on the wire. Raises Invalid with a sentence that names the field."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Invalid(_sentence(str(error))) from None


def read_switch(given: Any) -> Any:
    """A boolean that came as a string or as 0 or 1; anything else as it is, for its type to refuse."""
    return _TRUTHS.get(str(given).lower(), given) if isinstance(given, str | int) else given


def _is_deeper_than(levels: int, value: Any) -> bool:
    """Without recursion, since deep values would overflow the stack."""
    nested = [value]
    for _ in range(levels):
        inside = (item.values() if isinstance(item, dict) else item for item in nested)
        nested = [inner for inner_ones in inside for inner in inner_ones if isinstance(inner, dict | list)]
    return bool(nested)


def _refuse_nul(value: Any, field: str = "body") -> None:
    """PostgreSQL cannot store a NUL and no header can carry one."""
    if isinstance(value, str) and "\0" in value:
        raise Invalid(f"Field '{field}' holds a NUL character.")
    if isinstance(value, list):
        for item in value:
            _refuse_nul(item, field)
    if isinstance(value, dict):
        for name, item in value.items():
            _refuse_nul(name, field)
            _refuse_nul(item, name)


def _sentence(complaint: str) -> str:
    """A sentence that names the field, made from an error message of msgspec.

    Its form: "Expected `int`, got `str` - at `$.image.size`".
    """
    what, _, path = complaint.partition(" - at ")
    field = re.sub(r"^(key in )?\$\.?(image\.)?", "", path.strip("`"))
    what = what.replace("`", "").replace("Expected", "expected", 1)
    return f"Invalid value for field '{field}': {what}." if field else f"Invalid body: {what}."
