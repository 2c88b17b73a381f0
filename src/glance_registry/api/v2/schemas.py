# SPDX-License-Identifier: Apache-2.0
"""The JSON schemas that clients are given, and that their bodies are checked against: the very same ones."""

from collections.abc import Callable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import fastjsonschema
import msgspec
from fastjsonschema import JsonSchemaDefinitionException, JsonSchemaValueException

from glance_registry.model.errors import Invalid
from glance_registry.model.image import MAX_INT32, MAX_INT64, MAX_NAME_LENGTH, VISIBILITIES
from glance_registry.model.locations import DIGEST_SIZES
from glance_registry.model.member import STATUSES
from glance_registry.model.status import TRANSITIONS

CONTAINER_FORMATS = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")
DISK_FORMATS = ("ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop", "gpt")

Schema = dict[str, Any]
Check = Callable[[Any], Any]


def _text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def _text_or_null(description: str, **more: Any) -> Schema:
    return {"type": ["null", "string"], "description": description, **more}


def _set_by_us(schema: Schema) -> Schema:
    return {**schema, "readOnly": True}


_WHOLE = {"type": "integer", "minimum": 0, "maximum": MAX_INT32}
_BYTES = {"type": ["null", "integer"], "minimum": 0, "maximum": MAX_INT64}
# What a path can hold, of any contract of the Registry API: "." and ".." name folders, "detail" a list there.
_ID = r"^(?!\.{1,2}$|detail$)[A-Za-z0-9._~-]{1,36}$"
_HASH_NAMES = sorted(DIGEST_SIZES)

_VALIDATION: Schema = {
    "type": "object",
    "description": "What the bytes at the URL are; kept as the image's own values while it is queued.",
    "writeOnly": True,
    "additionalProperties": False,
    "properties": {
        "checksum": _text("MD5 digest, hexadecimal", minLength=32, maxLength=32),
        "os_hash_algo": _text("Algorithm of os_hash_value", enum=_HASH_NAMES),
        "os_hash_value": _text("Digest, hexadecimal", maxLength=128),
        "size": {"type": "integer", "minimum": 0, "maximum": MAX_INT64, "description": "Bytes"},
    },
    "dependencies": {"os_hash_value": ["os_hash_algo"], "os_hash_algo": ["os_hash_value"]},
}
_URL = _text("Where the bytes lie", minLength=1, maxLength=4096)

LOCATION_SCHEMA: Schema = {
    "type": "object",
    "properties": {"url": _URL, "metadata": {"type": "object"}, "validation_data": _VALIDATION},
    "required": ["url"],
}

_BASE: dict[str, Schema] = {
    "id": _text("Identifier of the image; never used again", pattern=_ID),
    "name": _text_or_null("Name for people", maxLength=MAX_NAME_LENGTH),
    "status": _set_by_us(_text("Where the image is in its life", enum=list(TRANSITIONS))),
    "visibility": _text("Who may see the image", enum=list(VISIBILITIES)),
    "protected": {"type": "boolean", "description": "Whether the image cannot be deleted"},
    "os_hidden": {"type": "boolean", "description": "Whether lists leave the image out unless they ask for it"},
    "checksum": _set_by_us(_text_or_null("MD5 digest of the bytes", maxLength=32)),
    "os_hash_algo": _set_by_us(_text_or_null("Algorithm of os_hash_value", maxLength=64)),
    "os_hash_value": _set_by_us(_text_or_null("Digest of the bytes, hexadecimal", maxLength=128)),
    "owner": _text_or_null("Project that the image belongs to", maxLength=MAX_NAME_LENGTH),
    "size": _set_by_us({**_BYTES, "description": "Bytes of the image's file"}),
    "virtual_size": _set_by_us({**_BYTES, "description": "Bytes of the disk inside"}),
    "container_format": _text_or_null("Format of the container", enum=[None, *CONTAINER_FORMATS]),
    "disk_format": _text_or_null("Format of the disk", enum=[None, *DISK_FORMATS]),
    "created_at": _set_by_us(_text("Time of registration")),
    "updated_at": _set_by_us(_text("Time of the last change")),
    "tags": {
        "type": "array",
        "description": "Words that images are found by",
        "items": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_LENGTH},
    },
    "direct_url": _set_by_us(_text("Where the bytes lie")),
    "stores": _set_by_us(_text("Stores that have the bytes, with commas between them")),
    "min_ram": {**_WHOLE, "description": "MiB of memory that the image needs"},
    "min_disk": {**_WHOLE, "description": "GiB of disk that the image needs"},
    "self": _set_by_us(_text("Path of the image")),
    "file": _set_by_us(_text("Path of the image's bytes")),
    "schema": _set_by_us(_text("Path of the schema")),
    "locations": {
        "type": "array",
        "description": "Where the bytes lie, and what they are",
        "items": {**LOCATION_SCHEMA, "required": ["url", "metadata"]},
    },
}

_MEMBER: dict[str, Schema] = {
    "member_id": _text("Project with which the image is shared"),
    "image_id": _text("Identifier of the image", pattern=_ID),
    "created_at": _text("Time of the invitation"),
    "updated_at": _text("Time of the last change"),
    "status": _text("What has become of the invitation", enum=list(STATUSES)),
    "schema": _set_by_us(_text("Path of the schema")),
}


class Schemas:
    """The schemas of one registry: the published ones add an operator's own properties, which are not base ones."""

    def __init__(self, extra: Mapping[str, Schema] | None = None, required: list[str] | None = None) -> None:
        """Raises Invalid when a property is one of ours already, or its schema is not one."""
        own = {name: {**schema, "is_base": False} for name, schema in (extra or {}).items()}
        if taken := own.keys() & _BASE.keys():
            raise Invalid(f"The image schema cannot define {', '.join(sorted(taken))}: the API does.")
        self.image: Schema = {
            "name": "image",
            "properties": {**_BASE, **own},
            "additionalProperties": {"type": "string"},
            "links": [
                {"rel": "self", "href": "{self}"},
                {"rel": "enclosure", "href": "{file}"},
                {"rel": "describedby", "href": "{schema}"},
            ],
        }
        self._partial = dict(self.image)
        self._own = own.keys()
        if required:
            self.image["required"] = required
        self.member: Schema = {"name": "member", "properties": _MEMBER, "additionalProperties": False}
        self.published = {
            "image": msgspec.json.encode(self.image),
            "images": msgspec.json.encode(_collection("images", self.image)),
            "member": msgspec.json.encode(self.member),
            "members": msgspec.json.encode(_collection("members", self.member)),
        }

    def check_image(self, value: Any) -> None:
        """Raise Invalid unless the value is what the schema says of a new image."""
        _check(self._image_check, value)

    def check_part(self, value: Any) -> None:
        """Raise Invalid unless the value is what the schema says of some of an image's properties."""
        _check(self._part_check, value)

    @cached_property
    def nullable(self) -> frozenset[str]:
        """The operator's properties that may be null."""
        return frozenset(name for name in self._own if self._allows_null(name))

    def _allows_null(self, name: str) -> bool:
        try:
            self.check_part({name: None})
        except Invalid:
            return False
        return True

    # To compile a schema takes milliseconds: the first body that needs it pays, not the start of the program.
    @cached_property
    def _image_check(self) -> Check:
        return _compiled({"type": "object", **self.image})

    @cached_property
    def _part_check(self) -> Check:
        return _compiled({"type": "object", **self._partial})


def load_schemas(file: str) -> Schemas:
    """The schemas with the properties that a file defines, if one is given. Raises Invalid.

    The file maps names to schemas, alone or under `properties` beside `required`.
    """
    if not file:
        return _of_no_file()
    where = f"[images] schema_file: {file}"
    try:
        given = msgspec.json.decode(Path(file).read_bytes(), type=dict[str, Any])
        wrapped = isinstance(given.get("properties"), dict) and "type" not in given["properties"]
        properties, required = (given["properties"], given.get("required")) if wrapped else (given, None)
        schemas = Schemas(msgspec.convert(properties, dict[str, Schema]), msgspec.convert(required, list[str] | None))
        schemas.check_part({})
    except OSError as error:
        raise Invalid(f"{where} cannot be read: {error.strerror}.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, JsonSchemaDefinitionException) as error:
        raise Invalid(f"{where} holds no schemas: {error}.") from None
    return schemas


@cache
def _of_no_file() -> Schemas:
    """What is compiled for one application serves every other one, too."""
    return Schemas()


def _collection(name: str, item: Schema) -> Schema:
    return {
        "name": name,
        "properties": {
            name: {"type": "array", "items": item},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


def _compiled(schema: Schema) -> Check:
    # Defaults would be written into the value; there are none of ours, and an operator's are for clients.
    return fastjsonschema.compile(schema, use_default=False)


def _check(check: Check, value: Any) -> None:
    try:
        check(value)
    except JsonSchemaValueException as error:
        sentence = str(error.message).replace("data.", "", 1)
        if error.rule == "additionalProperties" and isinstance(error.definition, dict):
            # Its own words repeat what was given, which may be a secret.
            sentence = f"there is only {', '.join(error.definition['properties'])}"
        raise Invalid(f"The body does not match the schema of an image: {sentence}.") from None
