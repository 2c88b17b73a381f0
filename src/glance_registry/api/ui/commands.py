# SPDX-License-Identifier: Apache-2.0
"""What one types to use an image, ready to be pasted."""

import shlex
from typing import NamedTuple

from glance_registry.model.image import ACTIVE, Image


class Command(NamedTuple):
    purpose: str
    line: str


def commands_for(image: Image, endpoint: str, credentials: str, url: str | None) -> list[Command]:
    """For an image, with the option of curl that says who calls, and where the bytes lie if the caller may know."""
    curl = f"curl -sf {credentials} " if credentials else "curl -sf "
    found = [
        Command("Show it", f"openstack image show {image.id}"),
        Command("Show it without any client", f"{curl}{shlex.quote(f'{endpoint}/v2/images/{image.id}')}"),
    ]
    if image.status == ACTIVE:
        boot = f"openstack server create --image {image.id} --flavor FLAVOR --network NETWORK NAME"
        found.append(Command("Start a server from it", boot))
    # What cannot be seen must not be pasted into a shell.
    if url is not None and url.isprintable() and url.startswith(("http://", "https://")):
        found.append(Command("Fetch its bytes", f"curl -fLO {shlex.quote(url)}"))
    return found
