# SPDX-License-Identifier: Apache-2.0
"""`glance-registry image upload` and `image download`: files to and from images, with breaks."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glance_registry.cli.output import print_error, print_json, transfer_progress
from glance_registry.model.errors import Invalid
from glance_registry.model.visible import printable

if TYPE_CHECKING:
    from glance_registry.cli.client import Client
    from glance_registry.cli.retries import Image
    from glance_registry.cli.sending import Report

INTERRUPTED = 130
"""The exit status after Ctrl-C, as of a shell."""

_RAW = ("gpt", "luks")
"""What the inspector finds in images of the format raw."""


def upload(
    client: "Client",
    file: Path,
    image_id: str | None,
    store: str | None,
    fields: dict[str, Any],
    *,
    as_json: bool,
) -> "Image":
    """Send a file to the image with this id, or to a new one with these fields."""
    from glance_registry.cli.sending import create_image, send_file

    if not file.is_file():
        raise click.ClickException(f"{file} is not a file.")
    if image_id is None:
        fields.setdefault("name", file.name)
        fields.setdefault("container_format", "bare")
        if "disk_format" not in fields:
            fields["disk_format"] = guess_format(file)
        image_id = client.run(partial(create_image, body=fields))
        if not as_json:
            print_error(f"Image {image_id}")
    again = f"Go on with: glance-registry image upload {file} {image_id}"
    with _reporting(f"Sending {file.name}", file.stat().st_size, again) as report:
        return client.run(partial(send_file, image_id=image_id, path=file, store=store, report=report))


def download(client: "Client", wanted: str, file: str | None, *, force: bool, as_json: bool) -> None:
    """Write an image's bytes to a file, or to standard output if the file is "-"."""
    from glance_registry.cli.fetching import fetch_file, fetch_stream, file_name, find_image

    if file == "-" and as_json:
        raise click.UsageError("--json prints on standard output, where the bytes go.")
    if file == "-" and sys.stdout.isatty():
        raise click.UsageError("The bytes of an image are not written to a terminal; name a file, or redirect.")
    with _reporting("", 0, "") as report:
        image = client.run(partial(find_image, wanted=wanted, report=report))
    size = image.get("size")
    target = Path(file_name(image) if file is None else file)
    if file != "-" and target.exists() and not force:
        raise click.ClickException(f"{target} is there already; --force replaces it.")
    with _reporting(
        f"Fetching {image['id']}", size if isinstance(size, int) else 0, "Call it again to go on."
    ) as report:
        try:
            if file == "-":
                stream = sys.stdout.buffer
                client.run(partial(fetch_stream, image=image, stream=stream, report=report, whole=client.in_process))
                return
            client.run(partial(fetch_file, image=image, target=target, report=report, whole=client.in_process))
        except OSError as error:
            raise click.ClickException(f"{target} cannot be written: {error.strerror}.") from error
    if as_json:
        names = ("id", "name", "size", "checksum", "os_hash_algo", "os_hash_value")
        print_json({"file": str(target), **{name: image.get(name) for name in names}})
    else:
        click.echo(printable(f"Wrote {target}."))


def guess_format(file: Path) -> str:
    """The disk format of a file, by its content. Raises Invalid when it is of several at once."""
    from oslo_utils.imageutils import format_inspector

    try:
        found = str(format_inspector.detect_file_format(str(file)) or "raw")
    except format_inspector.ImageFormatError:
        raise Invalid(f"{file} is of several formats at once; say which with --disk-format.") from None
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}.") from error
    return "raw" if found in _RAW else found


@contextmanager
def _reporting(what: str, size: int, again: str) -> Iterator["Report"]:
    """Messages and a progress bar on standard error. `again` is printed after Ctrl-C."""
    from glance_registry.cli.sending import Report

    with transfer_progress() as bar:
        task = bar.add_task(printable(what), total=size, visible=size > 0)
        advance: Callable[[int], None] = lambda sent: bar.update(task, completed=sent)  # noqa: E731
        try:
            yield Report(tell=print_error, advance_to=advance)
        except KeyboardInterrupt:
            bar.stop()
            print_error(f"Interrupted. {again}")
            click.get_current_context().exit(INTERRUPTED)
