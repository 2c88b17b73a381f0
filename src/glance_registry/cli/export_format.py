# SPDX-License-Identifier: Apache-2.0
"""The lines of an export: images with everything that the catalogue has of them, and tombstones.

    {"id": …, "name": …, …, "visibility": "shared", "tags": […], "version": 3, "members": [{"member_id": …, …}]}
    {"id": …, "purged_at": …}

A line with both an id and `created_at` is a record: an export wrote it, or it is an answer of the Registry API or of
the Images API. It is stored as it is. Any other line is the body of a POST, written by a person. An unknown field is
refused, because an import must not lose a part of a file without notice.

A line has no bytes. An image whose bytes are in the stores of this registry is written as queued, so that its bytes
can be uploaded where the line is imported; as active it could never be given any.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from io import BytesIO
from itertools import chain
from typing import Annotated, Any, BinaryIO, Literal

import msgspec
from msgspec import Meta, Struct, structs

from glance_registry.api.json_body import convert, read_object
from glance_registry.api.registry import wire
from glance_registry.api.registry.member_wire import MembershipBody, ShownMember
from glance_registry.catalogue.images import ImageRecord
from glance_registry.catalogue.purge import Tombstone
from glance_registry.cli.images_api import ANSWER_FIELDS, Answers, as_record, is_answer
from glance_registry.model.access import ANYONE_IS_ADMIN
from glance_registry.model.changes import as_tags
from glance_registry.model.contract import CACTUS, QUEENS, Contract
from glance_registry.model.document import MAX_IMAGE_DOCUMENT_BYTES
from glance_registry.model.errors import Invalid
from glance_registry.model.image import (
    MAX_INT32,
    MAX_INT64,
    MAX_NAME_LENGTH,
    MAX_PROPERTIES_SETTING,
    MAX_TAGS,
    Image,
    Location,
)
from glance_registry.model.member import Member
from glance_registry.model.status import QUEUED

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MAX_LINE_BYTES = 64 * 1024 * 1024
"""The largest possible image has fewer bytes; a longer line has lost its line ends."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Some editors write it at the start of a file."""

Entry = tuple[int, bytes | None]
"""The number of a line, and the entry that begins there, or None if the line is too long."""

Report = Callable[[int, str], None]
"""Takes the number of a line and a sentence about it."""

_LIST_FIELDS = frozenset({"images", "first", "next", "schema"})


def read_entries(stream: BinaryIO, report: Report) -> Iterator[Entry]:
    """Read the entries of a file: lines one by one, a list completely. Raises Invalid for a broken list.

    Reports a list of an API that continues on another page.
    """
    lines = _lines(stream)
    for number, line in lines:
        if line is not None and line.startswith(b"["):
            yield from _list_entries(number, line + stream.read())
        elif line is not None and line.startswith(b"{") and not _is_json(line):
            yield from _object_entries(number, line + stream.read(), report)
        else:
            for each, text in chain([(number, line)], lines):
                yield from _expanded(each, text, report)
        return


def _object_entries(number: int, text: bytes, report: Report) -> Iterator[Entry]:
    """Read one object over several lines. If it is none, the first line is broken; read all lines one by one."""
    if _is_json(text):
        yield from _expanded(number, text, report)
        return
    for each, line in _lines(BytesIO(text), number - 1):
        yield from _expanded(each, line, report)


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _expanded(number: int, text: bytes | None, report: Report) -> Iterator[Entry]:
    """The images in a list of images; any other entry unchanged."""
    listed = None if text is None or b'"images"' not in text else _read_list(text)
    if text is None or listed is None:
        yield number, text
        return
    if listed.get("next"):
        report(number, f"The list of images continues at {listed['next']!r}; import that page too.")
    start = text.index(b"[", text.index(b'"images"'))
    yield from _list_entries(number + text.count(b"\n", 0, start), bytes(listed["images"]))


def _read_list(text: bytes) -> dict[str, Any] | None:
    """The fields of a list of images, with `images` as raw JSON; None if it is something else."""
    try:
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        if not fields.keys() <= _LIST_FIELDS or not bytes(fields.get("images", b"")).startswith(b"["):
            return None
        return {name: raw if name == "images" else msgspec.json.decode(raw) for name, raw in fields.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _lines(stream: BinaryIO, number: int = 0) -> Iterator[Entry]:
    """The lines that are not blank, without leading blanks; `number` is that of the line before."""
    while line := stream.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE_BYTES)
            yield number, None
        elif text := (line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line).lstrip():
            yield number, text


def _list_entries(first_line: int, text: bytes) -> Iterator[Entry]:
    try:
        entries = msgspec.json.decode(text, type=list[msgspec.Raw])
    except RecursionError:
        raise Invalid(f"line {first_line}: The list is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # The decoder names a byte, or the text ended too early.
        byte = re.search(r"\(byte (\d+)\)", str(error))
        line = first_line + text.count(b"\n", 0, int(byte[1]) if byte else len(text.rstrip()))
        raise Invalid(f"line {line}: The list is not valid JSON: {error}.") from None
    line, position = first_line, 0
    for entry in map(bytes, entries):
        # Only a comma and blanks are between two entries, so the next occurrence of its text is the entry.
        start = text.index(entry, position)
        line += text.count(b"\n", position, start)
        yield line, entry
        line += entry.count(b"\n")
        position = start + len(entry)


ANY_CONTRACT = structs.replace(
    QUEENS,
    name="any",
    id_pattern=CACTUS.id_pattern,
    id_sentence=CACTUS.id_sentence,
    max_properties=MAX_PROPERTIES_SETTING,
    image_document_bytes=MAX_IMAGE_DOCUMENT_BYTES,
)
"""Everything that a catalogue may have, whatever contract it was written with."""


class MemberLine(ShownMember):
    status: str
    created_at: str | None
    updated_at: str | None


class ImageLine(wire.ShownImage):
    location_data: tuple[Location, ...]  # type: ignore[assignment]
    """With the ids, which clients are not shown."""
    visibility: str
    tags: tuple[str, ...]
    os_hidden: bool
    os_hash_algo: str | None
    os_hash_value: str | None
    version: int
    members: tuple[MemberLine, ...]


class TombstoneLine(Struct):
    id: str
    purged_at: str


Tag = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH)]


class _LocationRecord(Struct, forbid_unknown_fields=True):
    """One entry of `location_data`; `metadata` and `status` are read with the body."""

    url: str
    id: Annotated[int, Meta(ge=0, le=MAX_INT64)] | None = None
    metadata: Any = None
    status: Any = None


class _MemberRecord(MembershipBody, forbid_unknown_fields=True):
    status: Literal["pending", "accepted", "rejected"] = "pending"
    created_at: datetime | None = None
    updated_at: datetime | None = None


class _ImageRecord(Struct):
    """The fields that a record has in addition to those of a body."""

    created_at: datetime
    updated_at: datetime | None = None
    deleted_at: datetime | None = None
    deleted: bool = False
    visibility: Literal["public", "community", "shared", "private"] | None = None
    version: Annotated[int, Meta(ge=1, le=MAX_INT32)] = 1
    location_data: list[_LocationRecord] | None = None
    members: list[_MemberRecord] = []
    tags: Annotated[list[Tag], Meta(max_length=MAX_TAGS)] = []
    os_hidden: bool = False
    os_hash_algo: Annotated[str, Meta(max_length=64)] | None = None
    os_hash_value: Annotated[str, Meta(max_length=128)] | None = None


class _TombstoneRecord(Struct, forbid_unknown_fields=True):
    id: str
    purged_at: datetime


_BODY_FIELDS = frozenset(wire.ImageBody.__struct_fields__)
_RECORD_FIELDS = _BODY_FIELDS | frozenset(_ImageRecord.__struct_fields__)

# Every answer of the Registry API has these; POST ignores them.
_IGNORED_FIELDS = frozenset({"created_at", "updated_at", "deleted_at", "deleted"})
_WRAPPER_FIELDS = frozenset(wire.ImageRequest.__struct_fields__)

# Sorted names, so that equal catalogues have equal exports.
_encode = msgspec.json.Encoder(order="deterministic").encode


def image_line(kept: ImageRecord, *, is_receiving: bool = False) -> bytes:
    """The line of an image. `is_receiving`: its bytes come at this moment, and whoever reads the line gets none."""
    image = kept.image
    if image.deleted:
        # Older releases left properties and locations in the row of a deleted image.
        image = structs.replace(image, properties={}, locations=(), tags=())
    if image.blob_number is not None or is_receiving:
        image = _without_bytes(image)
    shown = structs.asdict(wire.shown(image, with_locations=True))
    line = ImageLine(
        **{**shown, "location_data": image.locations},
        visibility=image.visibility,
        tags=image.tags,
        os_hidden=image.os_hidden,
        os_hash_algo=image.os_hash_algo,
        os_hash_value=image.os_hash_value,
        version=image.version,
        members=tuple(map(_member_line, kept.members)),
    )
    return _encode(line) + b"\n"


def _without_bytes(image: Image) -> Image:
    """An image whose bytes are kept here, as it is where these are not: queued, unless it has a location, too."""
    if image.locations:
        return image
    nothing = dict.fromkeys(("size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value"))
    return structs.replace(image, status=QUEUED, **nothing)


def _member_line(member: Member) -> MemberLine:
    return MemberLine(
        member_id=member.member_id,
        can_share=member.can_share,
        status=member.status,
        created_at=None if member.created_at is None else wire.timestamp(member.created_at),
        updated_at=None if member.updated_at is None else wire.timestamp(member.updated_at),
    )


def tombstone_line(tombstone: Tombstone) -> bytes:
    return _encode(TombstoneLine(tombstone.id, wire.timestamp(tombstone.purged_at))) + b"\n"


def read_line(
    line: bytes,
    contract: Contract,
    now: Callable[[], datetime],
    new_id: Callable[[], str],
    answers: Answers | None = None,
) -> ImageRecord | Tombstone:
    """The image or tombstone of a line. Raises Invalid or TooLarge.

    The contract is for lines written by a person. Answers of the Images API are counted in `answers`.
    """
    value = read_object(line)
    wrapped = isinstance(value.get("image"), dict)
    fields = value["image"] if wrapped else value
    if wrapped:
        _refuse_unknown(value, _WRAPPER_FIELDS)
    if fields.get("purged_at") is not None:
        return _read_tombstone(fields)
    body = line if wrapped else b'{"image":' + line + b"}"
    if fields.get("id") is not None and fields.get("created_at") is not None:
        if not is_answer(fields):
            _refuse_unknown(fields, _RECORD_FIELDS)
            return _read_record(fields, body)
        record = as_record(fields)
        read = _read_record(record, _encode({"image": record}))
        if answers is not None:
            answers.add(fields)
        return read
    _refuse_unknown(fields, _BODY_FIELDS | _IGNORED_FIELDS)
    image = wire.read_new(body, contract, ANYONE_IS_ADMIN, new_id, now())
    contract.check(image)
    return ImageRecord(image)


def _refuse_unknown(fields: Mapping[str, Any], known: frozenset[str]) -> None:
    for name in fields:
        if name in known:
            continue
        if name in _RECORD_FIELDS:
            raise Invalid(f"Field '{name}' is read only with both an 'id' and 'created_at', as in an export.")
        raise Invalid(
            f"Field '{name}' is unknown. Properties are entries of field 'properties'; an answer of the Images API,"
            f" where they are fields, also has {' or '.join(repr(name) for name in ANSWER_FIELDS)}, an 'id' and"
            " 'created_at'."
        )


def _read_tombstone(fields: Mapping[str, Any]) -> Tombstone:
    record = convert(fields, _TombstoneRecord)
    return Tombstone(CACTUS.image_id(record.id), _utc(record.purged_at))


def _read_record(fields: Mapping[str, Any], body: bytes) -> ImageRecord:
    # The record has an id and times of its own.
    image = wire.read_new(body, ANY_CONTRACT, ANYONE_IS_ADMIN, str, _EPOCH)
    record = convert(fields, _ImageRecord)
    created_at = _utc(record.created_at)
    updated_at = created_at if record.updated_at is None else _utc(record.updated_at)
    deleted_at = None if record.deleted_at is None else _utc(record.deleted_at)
    if record.deleted and deleted_at is None:
        deleted_at = updated_at
    if min(updated_at, deleted_at or updated_at) < created_at:
        raise Invalid("Field 'created_at' is later than 'updated_at' or 'deleted_at'.")
    tags = as_tags(record.tags)
    if "" in tags:
        raise Invalid("Field 'tags' has a tag with no characters or only blanks.")
    image = structs.replace(
        image,
        created_at=created_at,
        updated_at=updated_at,
        deleted_at=deleted_at,
        visibility=record.visibility or image.visibility,
        version=record.version,
        # A deleted image has no contents: deleting it here removes them, too.
        properties={} if deleted_at else image.properties,
        locations=() if deleted_at else _with_record_ids(image, record),
        tags=() if deleted_at else tags,
        os_hidden=record.os_hidden,
        os_hash_algo=record.os_hash_algo,
        os_hash_value=record.os_hash_value,
    )
    ANY_CONTRACT.check(image)
    return ImageRecord(image, tuple({entry.member_id: _member(entry) for entry in record.members}.values()))


def _member(entry: _MemberRecord) -> Member:
    return Member(
        member_id=entry.member_id,
        can_share=bool(entry.can_share),
        status=entry.status,
        created_at=None if entry.created_at is None else _utc(entry.created_at),
        updated_at=None if entry.updated_at is None else _utc(entry.updated_at),
    )


def _with_record_ids(image: Image, record: _ImageRecord) -> tuple[Location, ...]:
    """The locations with the ids of the record; with new ids if the record does not have one for each."""
    ids = {location.url: location.id for location in record.location_data or () if location.id is not None}
    if any(location.url not in ids for location in image.locations):
        return image.locations
    if len(set(ids.values())) < len(ids):
        raise Invalid("Field 'location_data' gives two locations the same id.")
    return tuple(structs.replace(location, id=ids[location.url]) for location in image.locations)


def _utc(instant: datetime) -> datetime:
    """Convert a time to UTC; one without a zone is in UTC. Raises Invalid outside the years 1 to 9999."""
    try:
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except OverflowError:
        raise Invalid("A time is outside the years 1 to 9999.") from None
