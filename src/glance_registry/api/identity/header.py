# SPDX-License-Identifier: Apache-2.0
"""The headers and the cookie that say who is calling."""

from glance_registry.api.request import Request
from glance_registry.model.errors import Invalid

COOKIE = "glance-registry-token"
"""The cookie with the token of a user who signed in to the web pages."""


def sole_header(request: Request, name: str) -> str | None:
    """The header's value, or None.

    Raises Invalid for a repeated header, which is ambiguous, and for a NUL, which PostgreSQL cannot compare.
    """
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise Invalid(f"Header '{name}' came more than once.")
    if values and "\0" in values[0]:
        raise Invalid(f"Header '{name}' has a NUL character.")
    return values[0] if values else None
