# SPDX-License-Identifier: Apache-2.0
"""Where it says who calls."""

from glance_registry.api.request import Request
from glance_registry.model.errors import Invalid

COOKIE = "glance-registry-token"
"""Where a browser keeps the token with which its user signed in to the pages."""


def sole_header(request: Request, name: str) -> str | None:
    """The header's value, None without one. Raises Invalid when it came twice: which of the two would be meant? Or
    when it holds a NUL, which no database can look for."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise Invalid(f"Header '{name}' came more than once.")
    if values and "\0" in values[0]:
        raise Invalid(f"Header '{name}' holds a NUL character.")
    return values[0] if values else None
