# SPDX-License-Identifier: Apache-2.0
"""Password hashes: the accepted kinds, and checking a password.

Both libraries release the GIL. Sources: RFC 9106 for argon2; bcrypt hashes of Apache's `htpasswd -B` and OpenBSD.
"""

import re

# bcrypt reads only 72 bytes, so passwords that differ later would be equal.
MAX_BCRYPT_BYTES = 72

_BCRYPT = re.compile(r"\$2[aby]\$(?:0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")
_ARGON2 = re.compile(r"\$(argon2id|argon2i|argon2d)\$v=\d+\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")

# Matches no password; has the parameters of new_hash. It is used for unknown names if the file is empty.
DUMMY_HASH = "$argon2id$v=19$m=65536,t=3,p=4$" + "A" * 22 + "$" + "A" * 43


def kind_of(hashed: str) -> str | None:
    """bcrypt, argon2id, argon2i or argon2d; None for a kind that is not accepted."""
    if _BCRYPT.fullmatch(hashed):
        return "bcrypt"
    found = _ARGON2.fullmatch(hashed)
    return found[1] if found else None


def verify(hashed: str, password: bytes) -> bool:
    """Whether the password matches a hash of an accepted kind; slow on purpose."""
    if kind_of(hashed) == "bcrypt":
        import bcrypt

        # A longer password is wrong, but takes as long.
        return bcrypt.checkpw(password[:MAX_BCRYPT_BYTES], hashed.encode()) and len(password) <= MAX_BCRYPT_BYTES
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return PasswordHasher().verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


def dummy_hash_like(hashed: str) -> str:
    """A hash that no password matches and that takes as long to check as this one."""
    if kind_of(hashed) == "bcrypt":
        return hashed[:-31] + "." * 31
    start, _, digest = hashed.rpartition("$")
    return f"{start}${'A' * len(digest)}"


def new_hash(password: str) -> str:
    """The argon2id hash of a password, with the parameters that RFC 9106 recommends."""
    from argon2 import PasswordHasher

    return PasswordHasher().hash(password)
