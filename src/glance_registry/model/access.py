# SPDX-License-Identifier: Apache-2.0
"""Who is calling."""

from msgspec import Struct


class Caller(Struct, frozen=True, kw_only=True):
    """Somebody who sends requests. An admin sees and changes every image."""

    admin: bool = False


ANYONE_IS_ADMIN = Caller(admin=True)
"""The caller when there is no identity mode: whoever reaches the port is trusted with everything."""
