# SPDX-License-Identifier: Apache-2.0
"""Hashes of passwords: which kinds are accepted, and whether a password fits one. Both libraries let other threads run.

Sources: RFC 9106 for argon2; bcrypt hashes are those of Apache's `htpasswd -B` and of OpenBSD.
"""

import re

# bcrypt reads 72 bytes and no more: two passwords that differ later would be the same.
BCRYPT_BYTES = 72

_BCRYPT = re.compile(r"\$2[aby]\$(?:0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")
_ARGON2 = re.compile(r"\$(argon2id|argon2i|argon2d)\$v=\d+\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")

# The hash of nothing, with the parameters of new_hash: what an empty file compares an unknown name's password with.
STRANGER = "$argon2id$v=19$m=65536,t=3,p=4$" + "A" * 22 + "$" + "A" * 43


def kind_of(hashed: str) -> str | None:
    """bcrypt, argon2id, argon2i or argon2d; None for any other kind, which is not accepted."""
    if _BCRYPT.fullmatch(hashed):
        return "bcrypt"
    found = _ARGON2.fullmatch(hashed)
    return found[1] if found else None


def fits(hashed: str, password: bytes) -> bool:
    """Whether this is the password; slow on purpose. The hash is of an accepted kind."""
    if kind_of(hashed) == "bcrypt":
        import bcrypt

        # A longer password takes as long as a wrong one.
        return bcrypt.checkpw(password[:BCRYPT_BYTES], hashed.encode()) and len(password) <= BCRYPT_BYTES
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return PasswordHasher().verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


def decoy_of(hashed: str) -> str:
    """A hash that takes as long as this one and that no password fits."""
    if kind_of(hashed) == "bcrypt":
        return hashed[:-31] + "." * 31
    start, _, digest = hashed.rpartition("$")
    return f"{start}${'A' * len(digest)}"


def new_hash(password: str) -> str:
    """The argon2id hash of a password, with the parameters that RFC 9106 recommends."""
    from argon2 import PasswordHasher

    return PasswordHasher().hash(password)
