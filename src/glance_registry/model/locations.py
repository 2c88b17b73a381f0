# SPDX-License-Identifier: Apache-2.0
"""Saying where an image's bytes lie, and what they are: the rules of the Images API v2.

They rule out OSSA-2016-006 and OSSN-0090: once an image is active its size and digests stay what they are, and
only a writer (an API server or an admin) says that the same bytes lie elsewhere, too.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from glance_registry.model.access import Caller, may_name_stores
from glance_registry.model.contract import USERS, Contract
from glance_registry.model.errors import Conflict, Forbidden, Invalid
from glance_registry.model.image import ACTIVE, Image, Location, number, without_secrets
from glance_registry.model.status import QUEUED, moved

OPEN_SCHEMES = frozenset({"http", "https"})
"""The schemes that users may name in the Images API: whoever reads such a location sends a request of its own. The
other schemes of the setting are for writers and services: compute hosts read those with rights of their own."""

ALGORITHMS = ("sha224", "sha256", "sha384", "sha512")
"""With which `os_hash_value` is computed of bytes that are uploaded: hashlib's SHA-2."""

DIGEST_SIZES = {"sha256": 64, "sha384": 96, "sha512": 128}
"""The algorithms whose digests count as evidence, and how many hexadecimal digits each has."""

MAX_LOCATIONS = 64

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)[^\s\x00-\x1f\x7f]*")
_STORE_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://[^\x00-\x1f\x7f]*")
"""What an API server makes of a store's location: there may be blanks in a path."""
_HEX = re.compile(r"[0-9a-fA-F]+")


class GivenLocation(Struct, frozen=True, kw_only=True):
    """A location as a client gives it.

    `claims` maps size, checksum, os_hash_algo and os_hash_value, as far as given, to what the bytes are said to be.
    """

    url: str
    metadata: Mapping[str, Any] = {}
    claims: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"GivenLocation({without_secrets(self.url)}, claims={self.claims})"


def with_locations(image: Image, locations: Sequence[Location | GivenLocation]) -> Image:
    """The image with these locations and no others; a queued one becomes active.

    Raises Conflict when the image's status does not allow it, or its bytes are others than a location claims; Invalid
    for a broken claim, a url that comes twice, or a missing format; Forbidden when no location is left, unless the
    bytes are kept here as well.
    """
    if image.status not in (QUEUED, ACTIVE):
        raise Conflict(f"It is not allowed to change locations of an image whose status is '{image.status}'.")
    if not locations and image.blob_number is None:
        raise Forbidden("An image keeps its last location; delete the image instead.")
    urls = [location.url for location in locations]
    if len(set(urls)) < len(urls):
        raise Invalid("The same location is given twice.")
    if len(urls) > MAX_LOCATIONS:
        raise Invalid(f"An image may have at most {MAX_LOCATIONS} locations.")
    claims = _agreed([location.claims for location in locations if isinstance(location, GivenLocation)])
    current = {location.url: location for location in image.locations}
    located = replace(
        _claimed(image, claims),
        locations=number([_location(location, current) for location in locations], image.locations),
    )
    return moved(located, ACTIVE) if image.status == QUEUED else located


def check_may_add_locations(caller: Caller, before: Image, after: Image, schemes: frozenset[str]) -> None:
    """Raise unless the caller may add these locations in the Images API; `schemes` are all that the setting allows.

    Raises Invalid for a url that nobody may give, Forbidden for one that this caller may not.
    """
    for url in _new_urls(before, after):
        if before.status != QUEUED and not caller.writer:
            raise Forbidden("Only a queued image can be given a location.")
        if has_credentials(url):
            raise Invalid("A location must not hold credentials: everybody who may see it would have them.")
        scheme = _scheme(url)
        if scheme not in schemes:
            raise Invalid(_scheme_sentence(schemes))
        if scheme not in OPEN_SCHEMES and not may_name_stores(caller):
            raise Forbidden(_scheme_sentence(schemes & OPEN_SCHEMES))


def check_may_describe_bytes(caller: Caller, before: Image | None, after: Image, contract: Contract) -> None:
    """Raise unless the caller may say in the Registry API where an image's bytes lie and what they are.

    Raises Forbidden when users call and this one is no writer, Invalid for a location of a scheme that the setting
    does not allow. Source: the registry protocol, section 3, Locations.
    """
    if contract.clients == USERS and not caller.writer:
        changed = [name for name in _OF_BYTES if getattr(after, name) != getattr(before, name, _NOTHING[name])]
        if changed:
            raise Forbidden(
                f"Field '{changed[0]}' is written by API servers alone: users do not say where an image's bytes lie"
                " or what they are."
            )
    for url in _new_urls(before, after):
        if _scheme(url, _STORE_URL) not in contract.location_schemes:
            raise Invalid(_scheme_sentence(contract.location_schemes))


def has_credentials(url: str) -> bool:
    """Whether a URL holds a user's name or a password."""
    parts = _URL.fullmatch(url)
    return parts is not None and "@" in parts[2]


_OF_BYTES = ("locations", "checksum", "size")
_NOTHING: Mapping[str, Any] = {"locations": (), "checksum": None, "size": None}


def _new_urls(before: Image | None, after: Image) -> list[str]:
    known = {location.url for location in before.locations} if before else set()
    return [location.url for location in after.locations if location.url not in known]


def _scheme(url: str, pattern: re.Pattern[str] = _URL) -> str:
    parts = pattern.fullmatch(url)
    if parts is None:
        raise Invalid("A location must be a URL as in https://images.example.com/debian.qcow2.")
    return parts[1].lower()


def _scheme_sentence(schemes: frozenset[str]) -> str:
    return f"A location here must begin with {' or '.join(f'{name}:' for name in sorted(schemes))}."


def _location(given: Location | GivenLocation, current: Mapping[str, Location]) -> Location:
    if isinstance(given, Location):
        return given
    return replace(current.get(given.url, Location(given.url)), metadata=given.metadata)


def _agreed(claims: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all locations claim together."""
    together: dict[str, Any] = {}
    for claim in claims:
        for name, value in claim.items():
            if together.setdefault(name, value) != value:
                raise Conflict(f"The locations contradict each other in {name}.")
    return together


def _claimed(image: Image, claims: Mapping[str, Any]) -> Image:
    """The image with what is claimed of its bytes. What is known already stays; only of a queued one more may be."""
    new = {name: value for name, value in claims.items() if getattr(image, name) != value}
    for name in new:
        if getattr(image, name) is not None:
            raise Conflict(f"{name} is set already, to another value.")
    if new and image.status != QUEUED:
        raise Conflict(f"{' and '.join(sorted(new))} can be set only while the image is queued.")
    _check_claims(claims)
    return replace(image, **new)


def _check_claims(claims: Mapping[str, Any]) -> None:
    checksum = claims.get("checksum")
    if checksum is not None and not (len(checksum) == 32 and _HEX.fullmatch(checksum)):
        raise Invalid("checksum must be an MD5 digest: 32 hexadecimal digits.")
    algorithm, value = claims.get("os_hash_algo"), claims.get("os_hash_value")
    if algorithm is None and value is None:
        return
    digits = DIGEST_SIZES.get(algorithm or "")
    if digits is None:
        raise Invalid(f"os_hash_algo must be one of: {', '.join(sorted(DIGEST_SIZES))}.")
    if value is None or len(value) != digits or not _HEX.fullmatch(value):
        raise Invalid(f"os_hash_value must have {digits} hexadecimal digits, as {algorithm} has.")
