# SPDX-License-Identifier: Apache-2.0
"""Where a bucket is, as the section of a store says; the names of the options are those of Glance."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from glance_registry.model.errors import Invalid

MIB = 1_048_576
_NEEDED = ("s3_store_host", "s3_store_access_key", "s3_store_secret_key", "s3_store_bucket")


@dataclass(frozen=True, kw_only=True)
class BucketSettings:
    """Where a bucket is, and as whom it is used."""

    endpoint: str
    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    prefix: str = ""
    """Before every key."""
    region: str = ""
    addressing: str = "auto"
    ca_file: str = ""
    create_bucket: bool = False
    part_bytes: int = 8 * MIB
    """The smallest part of an upload, but for the last."""


def read_section(store: str, section: Mapping[str, Any]) -> BucketSettings:
    """The bucket of a section's options. Raises Invalid for what can never work."""
    absent = [name for name in _NEEDED if not section[name]]
    if absent:
        raise Invalid(f"Store '{store}' of kind s3 needs in section [{store}]: {', '.join(absent)}.")
    return BucketSettings(
        endpoint=_endpoint(store, section["s3_store_host"]),
        bucket=section["s3_store_bucket"],
        access_key=section["s3_store_access_key"],
        secret_key=section["s3_store_secret_key"],
        prefix=section["s3_store_object_prefix"],
        region=section["s3_store_region_name"],
        addressing=section["s3_store_bucket_url_format"],
        ca_file=_authorities(store, section["s3_store_cacert"]),
        create_bucket=section["s3_store_create_bucket_on_put"],
        part_bytes=section["s3_store_large_object_chunk_size"] * MIB,
    )


def _endpoint(store: str, host: str) -> str:
    # Compat: a host without a scheme is reached by https.
    url = host if "://" in host else f"https://{host}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and not parts.username and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise Invalid(f"[{store}] s3_store_host must be like https://s3.example.com or http://s3.example.com:9000.")
    return url.rstrip("/")


def _authorities(store: str, file: str) -> str:
    if file:
        try:
            ssl.create_default_context(cafile=file)
        except (OSError, ssl.SSLError) as error:
            has_none = isinstance(error, ssl.SSLError)
            reason = "it has no certificates in PEM form" if has_none else error.strerror
            raise Invalid(f"[{store}] s3_store_cacert: the file {file} cannot be used: {reason}.") from error
    return file
