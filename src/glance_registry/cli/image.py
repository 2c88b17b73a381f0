# SPDX-License-Identifier: Apache-2.0
"""`glance-registry image`: list, change, upload and download images through the API."""

from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.filesize import decimal

from glance_registry.cli.options import is_database_given, setting_options
from glance_registry.cli.output import print_error, print_json, print_table
from glance_registry.model.errors import RegistryError
from glance_registry.model.query import SORT_DIRECTIONS, SORT_KEYS

if TYPE_CHECKING:
    from glance_registry.cli.client import Client

DEFAULT_SERVER = "http://127.0.0.1:9191"
_LISTED = ("id", "name", "status", "disk_format", "container_format", "size")


def _client_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a client: of a server, or in-process with --database."""

    @click.option(
        "--server",
        default=DEFAULT_SERVER,
        envvar="GLANCE_REGISTRY_SERVER",
        metavar="URL",
        show_default=True,
        show_envvar=True,
        help="Address of the registry; not needed with --database.",
    )
    @click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=30.0,
        metavar="SECONDS",
        show_default=True,
        help="How long to wait for an answer.",
    )
    @click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
    @setting_options
    @wraps(command)
    def run(server: str, timeout: float, **given: Any) -> None:
        # The HTTP client is imported only when needed: it costs start-up time and memory.
        from glance_registry.cli.client import connected

        in_process = is_database_given()
        if in_process and click.get_current_context().get_parameter_source("server") is ParameterSource.COMMANDLINE:
            raise click.UsageError("Give --server or --database, not both.")
        with connected(None if in_process else server, timeout) as client:
            command(client, **given)

    return run


def _read_properties(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, str] | None:
    properties = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"'{text}' is not NAME=VALUE.", context, parameter)
        properties[name] = value
    return properties or None


def _read_sort(context: click.Context, parameter: click.Parameter, given: str | None) -> dict[str, str]:
    if given is None:
        return {}
    key, colon, direction = given.partition(":")
    if key not in SORT_KEYS or (colon and direction not in SORT_DIRECTIONS):
        directions, keys = " or ".join(SORT_DIRECTIONS), ", ".join(SORT_KEYS)
        raise click.BadParameter(
            f"'{given}' is not KEY or KEY:DIR; DIR is {directions}, KEY {keys}.", context, parameter
        )
    return {"sort_key": key, "sort_dir": direction} if colon else {"sort_key": key}


_FIELDS = (
    click.option("--name"),
    click.option("--status"),
    click.option("--disk-format", metavar="FORMAT", help="raw, qcow2, vmdk, …"),
    click.option("--container-format", metavar="FORMAT", help="bare, ovf, …"),
    click.option("--size", type=int, metavar="BYTES"),
    click.option("--location", metavar="URL", help="Where the image's bytes lie."),
    click.option("--min-disk", type=int, metavar="GIB"),
    click.option("--min-ram", type=int, metavar="MIB"),
    click.option("--public/--private", "is_public", default=None),
    click.option("--protected/--unprotected", default=None, help="A protected image cannot be deleted."),
    click.option(
        "--property", "properties", multiple=True, callback=_read_properties, metavar="NAME=VALUE", help="Repeatable."
    ),
)


def _field_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_FIELDS):
        command = option(command)
    return command


@click.group()
@setting_options
def image() -> None:
    """List, show, add, change, delete, upload and download images through the API."""


@image.command("list")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most N images; default: all.")
@click.option("--sort", callback=_read_sort, metavar="KEY[:DIR]", help="As name:asc; default: created_at:desc.")
@_client_options
def list_images(client: "Client", limit: int | None, sort: dict[str, str], as_json: bool) -> None:
    """List the images."""
    found = client.list_images(limit, sort)
    if as_json:
        print_json(list(found))
        return
    columns = [name.replace("_", " ") for name in _LISTED]
    print_table(columns, ([_listed_cell(name, shown.get(name)) for name in _LISTED] for shown in found))


@image.command("show")
@click.argument("image_id", metavar="ID")
@_client_options
def show_image(client: "Client", image_id: str, as_json: bool) -> None:
    """Show one image with its properties."""
    _print_image(client.show_image(image_id), as_json)


@image.command("add")
@click.option("--id", help="Default: a new UUID.")
@_field_options
@_client_options
def add_image(client: "Client", as_json: bool, **fields: Any) -> None:
    """Register an image."""
    _print_image(client.create_image(_without_none(fields)), as_json)


@image.command("set")
@click.argument("image_id", metavar="ID")
@click.option("--purge-properties", is_flag=True, help="Remove all other properties.")
@_field_options
@_client_options
def set_image(client: "Client", image_id: str, purge_properties: bool, as_json: bool, **fields: Any) -> None:
    """Change the given fields of an image."""
    given = _without_none(fields)
    if not given and not purge_properties:
        raise click.UsageError("There is nothing to change: give at least one option.")
    if purge_properties:
        given.setdefault("properties", {})
    _print_image(client.update_image(image_id, given, purge_properties=purge_properties), as_json)


@image.command("delete")
@click.argument("image_ids", metavar="ID...", nargs=-1, required=True)
@_client_options
def delete_images(client: "Client", image_ids: tuple[str, ...], as_json: bool) -> None:
    """Delete images; exit 1 if one of them could not be deleted."""
    from glance_registry.cli.client import Refused

    deleted = []
    for image_id in image_ids:
        try:
            deleted.append(client.delete_image(image_id))
        except (Refused, RegistryError) as error:
            print_error(f"{image_id}: {error}")
            continue
        if not as_json:
            click.echo(f"Deleted {image_id}.")
    if as_json:
        print_json(deleted)
    if len(deleted) < len(image_ids):
        click.get_current_context().exit(1)


@image.command("upload")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("image_id", metavar="[ID]", required=False)
@click.option("--name", help="Of the new image; default: the file's name.")
@click.option("--disk-format", metavar="FORMAT", help="raw, qcow2, vmdk, …; default: what the file's content is.")
@click.option("--container-format", metavar="FORMAT", help="Default: bare.")
@click.option("--visibility", type=click.Choice(["public", "community", "shared", "private"]))
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Repeatable.")
@click.option("--min-disk", type=int, metavar="GIB")
@click.option("--min-ram", type=int, metavar="MIB")
@click.option("--protected/--unprotected", default=None, help="A protected image cannot be deleted.")
@click.option(
    "--property", "properties", multiple=True, callback=_read_properties, metavar="NAME=VALUE", help="Repeatable."
)
@click.option("--store", metavar="NAME", help="The store for the bytes; default: the server's first one.")
@_client_options
def upload_image(
    client: "Client", file: Path, image_id: str | None, store: str | None, as_json: bool, **fields: Any
) -> None:
    """Send FILE to a new image, or to the image with this ID.

    After a broken connection, or while the server starts again, it goes on by itself. After Ctrl-C, call it again with
    the image's id: it goes on where it was. At the end it compares the digests. A server that cannot go on after a
    break, such as Glance, gets all bytes in one request.
    """
    from glance_registry.cli.image_bytes import upload

    given = {name: value for name, value in fields.items() if value not in (None, ())}
    if image_id is not None and given:
        raise click.UsageError("These options are for a new image; of an image that is there change them before.")
    properties = given.pop("properties", {})
    _print_image({**upload(client, file, image_id, store, {**given, **properties}, as_json=as_json)}, as_json)


@image.command("download")
@click.argument("wanted", metavar="ID|NAME")
@click.argument("file", required=False)
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@_client_options
def download_image(client: "Client", wanted: str, file: str | None, force: bool, as_json: bool) -> None:
    """Write the bytes of an image to FILE; default: the image's name. "-" is standard output.

    They come into a file beside it and are renamed when the digest is right. After a broken connection it goes on by
    itself, and after Ctrl-C when it is called again.
    """
    from glance_registry.cli.image_bytes import download

    download(client, wanted, file, force=force, as_json=as_json)


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _print_image(shown: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(shown)
    else:
        print_table(("field", "value"), _rows(shown))


def _rows(shown: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """An image in two columns; each location and each property has a row."""
    for name, value in shown.items():
        if name == "location_data" and isinstance(value, list):
            for location in value:
                yield name, _cell(location)
        elif name == "properties" and isinstance(value, dict):
            for key, text in value.items():
                yield f"property {key}", _cell(text)
        else:
            yield name, _cell(value)


def _listed_cell(name: str, value: Any) -> str:
    return decimal(value) if name == "size" and isinstance(value, int) else _cell(value)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{name} {cell}" for name, item in value.items() if (cell := _cell(item)))
    return str(value).lower() if isinstance(value, bool) else str(value)
