# SPDX-License-Identifier: Apache-2.0
"""Checks the TLS files of the settings and makes Granian's options of them."""

import base64
import re
import ssl
from pathlib import Path
from typing import Any, NoReturn

from glance_registry.model.errors import Invalid
from glance_registry.settings import Settings

_USABLE_KEYS = tuple(
    bytes.fromhex(identifier)
    for identifier in (
        "06092a864886f70d010101",  # RSA: rsaEncryption, RFC 8017
        "06082a8648ce3d030107",  # P-256: secp256r1, RFC 5480
        "06052b81040022",  # P-384: secp384r1, RFC 5480
        "06032b6570",  # Ed25519, RFC 8410
    )
)
"""Object identifiers, in DER, of the key types that the server supports; OpenSSL supports more."""

_KEY = re.compile(r"-----BEGIN (RSA |EC )?PRIVATE KEY-----(.*?)-----END", re.DOTALL)


def options(settings: Settings) -> dict[str, Any]:
    """Granian's options for TLS; none without TLS settings.

    Raises Invalid if a file cannot be read or the files do not match.
    """
    if not (settings.cert_file or settings.key_file or settings.ca_file):
        return {}
    if not (settings.cert_file and settings.key_file):
        raise Invalid("TLS needs a certificate and its key: set both [DEFAULT] cert_file and [DEFAULT] key_file.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for file in filter(None, (settings.cert_file, settings.key_file, settings.ca_file)):
        _check_readable(file)
    _load_certificate(context, settings)
    _check_key_type(settings.key_file)
    chosen: dict[str, Any] = {"ssl_cert": Path(settings.cert_file), "ssl_key": Path(settings.key_file)}
    if settings.ca_file:
        _load_authority(context, settings.ca_file)
        chosen |= {"ssl_ca": Path(settings.ca_file), "ssl_client_verify": True}
    return chosen


def _check_readable(file: str) -> None:
    try:
        with Path(file).open("rb"):
            pass
    except OSError as error:
        raise Invalid(f"The TLS file {file} cannot be read: {error.strerror}.") from None


def _load_certificate(context: ssl.SSLContext, settings: Settings) -> None:
    def refuse_prompt() -> NoReturn:
        raise Invalid(f"The key in {settings.key_file} is encrypted; use one without a passphrase.")

    try:
        context.load_cert_chain(settings.cert_file, settings.key_file, refuse_prompt)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Invalid(
                f"The key in {settings.key_file} does not match the certificate in {settings.cert_file}."
            ) from None
        raise Invalid(
            f"{settings.cert_file} and {settings.key_file} are not a certificate and its key in PEM form that can be"
            f" used{_reason(error)}."
        ) from None


def _check_key_type(file: str) -> None:
    for kind, text in _KEY.findall(Path(file).read_text("ascii", "replace")):
        if kind == "RSA " or any(identifier in base64.b64decode(text) for identifier in _USABLE_KEYS):
            return
    raise Invalid(f"The key in {file} has a type that cannot be used; use RSA, P-256, P-384 or Ed25519.")


def _load_authority(context: ssl.SSLContext, file: str) -> None:
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as error:
        raise Invalid(f"{file} has no certificates in PEM form{_reason(error)}.") from None
    if not context.get_ca_certs():
        raise Invalid(f"{file} has no certificate of an authority, so client certificates cannot be checked.")


def _reason(error: ssl.SSLError) -> str:
    return f" ({error.reason.lower().replace('_', ' ')})" if error.reason else ""
