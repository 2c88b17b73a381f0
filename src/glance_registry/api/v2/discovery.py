# SPDX-License-Identifier: Apache-2.0
"""What a client asks first: which versions are spoken, and what works.

A minor version is listed only when what it stands for works: clients look for these very ids.
"""

import re
from http import HTTPStatus

from msgspec import Struct

from glance_registry.api.request import Request
from glance_registry.api.responses import Answer, encoded_answer, json_answer
from glance_registry.api.v2.offer import offer_of
from glance_registry.catalogue import uploads
from glance_registry.model.limits import OwnerLimits

SUPPORTED = ("2.9", "2.7", "2.6", "2.5", "2.4", "2.3", "2.2", "2.1", "2.0")
CURRENT = "2.17"
"""Locations of their own. Not listed: several stores (2.8, 2.10 to 2.13, 2.15, 2.16) and the cache (2.14)."""

MEBIBYTE = 1_048_576
NO_LIMIT = -1
"""As Keystone writes that there is no limit."""

# What of a Host header may stand in a link.
_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


class Link(Struct):
    href: str
    rel: str = "self"


class Version(Struct):
    id: str
    status: str
    links: list[Link]


class Versions(Struct):
    """The versions of the Images API that are served; the first is the newest."""

    versions: list[Version]


class OneVersion(Struct):
    version: Version


async def list_versions(request: Request) -> Answer:
    """The versions of the Images API that are served."""
    return json_answer(_versions(request))


async def list_versions_as_choices(request: Request) -> Answer:
    """The same as `/versions`, with the status that discovery expects here."""
    return json_answer(_versions(request), HTTPStatus.MULTIPLE_CHOICES)


async def show_version(request: Request) -> Answer:
    """The version that is current; clients that are given only this path begin here."""
    return json_answer(OneVersion(_version(request, CURRENT)))


async def show_import_methods(request: Request) -> Answer:  # noqa: ARG001 - the shape of a handler
    """How bytes could be imported: there is no way."""
    return json_answer({"import-methods": {"description": "Import methods available.", "type": "array", "value": []}})


async def list_stores(request: Request) -> Answer:
    """The stores in which images can have their bytes."""
    stores = request.registry.transfers.stores
    shown = []
    for name in stores.by_name:
        described = {"description": stores.descriptions[name]} if name in stores.descriptions else {}
        # Compat: clients expect the text, as others answer.
        default = {"default": "true"} if name == stores.default else {}
        shown.append({"id": name, **described, **default})
    return json_answer({"stores": shown})


async def show_usage(request: Request) -> Answer:
    """What the caller's project has of all that is limited, and how much it may have."""
    project = request.caller.project
    limits = await request.registry.transfers.limits_of(project)
    # Compat: without limits there is nothing to say. A caller without a project has none.
    if project is None or limits == OwnerLimits():
        return json_answer({"usage": {}})
    used = await request.registry.catalogue.read(uploads.usage, project)
    figures = {
        "image_size_total": (used.bytes // MEBIBYTE, _in_mebibytes(limits.bytes_per_owner)),
        "image_count_total": (used.images, limits.images_per_owner),
        "image_count_uploading": (used.uploads, limits.uploads_per_owner),
    }
    usage = {
        name: {"usage": used, "limit": NO_LIMIT if limit is None else limit} for name, (used, limit) in figures.items()
    }
    return json_answer({"usage": usage})


async def show_schema_of_image(request: Request) -> Answer:
    """The JSON schema of an image, which bodies are checked against."""
    return _schema(request, "image")


async def show_schema_of_images(request: Request) -> Answer:
    """The JSON schema of a list of images."""
    return _schema(request, "images")


async def show_schema_of_member(request: Request) -> Answer:
    """The JSON schema of a member."""
    return _schema(request, "member")


async def show_schema_of_members(request: Request) -> Answer:
    """The JSON schema of a list of members."""
    return _schema(request, "members")


def _in_mebibytes(size: int | None) -> int | None:
    return None if size is None else size // MEBIBYTE


def _schema(request: Request, name: str) -> Answer:
    return encoded_answer(offer_of(request.registry).schemas.published[name])


def _versions(request: Request) -> Versions:
    return Versions([_version(request, number) for number in (CURRENT, *SUPPORTED)])


def _version(request: Request, number: str) -> Version:
    status = "CURRENT" if number == CURRENT else "SUPPORTED"
    return Version(f"v{number}", status, [Link(endpoint(request) + "/v2/")])


def endpoint(request: Request) -> str:
    """Where the caller reaches us: as the operator says, else as the request says."""
    configured = request.registry.settings.public_endpoint
    if configured:
        return configured.rstrip("/")
    forwarded = request.headers.get("x-forwarded-proto", "").lower()
    scheme = forwarded if forwarded in ("http", "https") else request.scope.get("scheme", "http")
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        name, port = request.scope.get("server") or ("localhost", None)
        host = f"{name}:{port}" if port else name
    return f"{scheme}://{host}"
