# SPDX-License-Identifier: Apache-2.0
"""An image's bytes, to and from a browser."""

import re
from urllib.parse import quote

from glance_registry.api.errors import status_of
from glance_registry.api.request import Request
from glance_registry.api.responses import Answer
from glance_registry.api.ui.multipart import boundary_of, read_file
from glance_registry.api.ui.pages import answer_image
from glance_registry.api.ui.render import PATH, redirect
from glance_registry.api.v2.file import open_file
from glance_registry.catalogue import images
from glance_registry.model.errors import Conflict, FormatRefused, Invalid, NotFound, StoreUnavailable, TooLarge
from glance_registry.model.image import Image
from glance_registry.model.visible import printable
from glance_registry.transfer.upload import upload

_REFUSED = (Invalid, Conflict, TooLarge, FormatRefused, StoreUnavailable)
"""What is said above the form."""

MAX_NAME = 100
"""Characters of a file's name before its ending: file systems take 255 bytes."""

# What a file system or a shell takes for more than a part of a name.
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|%]+')


async def download_file(request: Request) -> Answer:
    """An image's bytes, as a file to be saved."""
    image = await request.registry.catalogue.read(images.get, request.image_id, request.caller)
    answer = await open_file(request, image)
    if answer.status_code == 204:
        raise NotFound("The image has no bytes yet.")
    answer.raw_headers.append((b"content-disposition", attachment(file_name(image))))
    return answer


async def upload_file(request: Request) -> Answer:
    """Gives a queued image the bytes of the form's file."""
    registry = request.registry
    try:
        file = read_file(request.stream_body(), boundary_of(request.headers.get("content-type", "")))
        image = await upload(registry.transfers, request.image_id, file, request.caller)
    except _REFUSED as error:
        registry.metrics.count_error(error.code)
        return await answer_image(request, status_of(error), str(error))
    return redirect(f"{PATH}/images/{image.id}")


def file_name(image: Image) -> str:
    """What a browser shall call the file: the image's name, without what is no part of a file's name."""
    name = _NOT_IN_NAMES.sub("_", printable(image.name or "")).strip(" .")[:MAX_NAME] or image.id
    ending = f".{_NOT_IN_NAMES.sub('_', image.disk_format or 'img')}"
    return name if name.endswith(ending) else name + ending


def attachment(name: str) -> bytes:
    """Content-Disposition with a file's name, also in ASCII for clients of old. Source: RFC 6266, appendix D."""
    plain = "".join(letter if " " <= letter <= "~" else "_" for letter in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}".encode()
