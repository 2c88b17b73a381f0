# SPDX-License-Identifier: Apache-2.0
"""The flags that set settings; the program and all commands that read settings have them."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from glance_registry.settings import Loaded, load

SYSTEM_FILE = Path("/etc/glance-registry/glance-registry.conf")
"""Read when no --config-file is given."""

DATABASE = "glance-registry.database"
"""Key in a context's `meta` for the URL of the database, which errors show."""

_FLAGS = {
    "host": "bind_host",
    "port": "bind_port",
    "cert_file": "cert_file",
    "key_file": "key_file",
    "ca_file": "ca_file",
    "database": "database.connection",
    "workers": "workers",
    "insecure_no_auth": "identity.insecure_no_auth",
}
"""The setting of each flag."""

_OPTIONS = (
    click.option("--config-file", multiple=True, metavar="FILE", help="Settings in INI form; repeatable, last wins."),
    click.option("--host", help="Address to listen on."),
    click.option("--port", type=int, help="TCP port to listen on."),
    click.option("--tls-cert", "cert_file", metavar="FILE", help="Serve TLS with this certificate."),
    click.option("--tls-key", "key_file", metavar="FILE", help="The certificate's key."),
    click.option("--tls-client-ca", "ca_file", metavar="FILE", help="Require client certificates of this authority."),
    click.option("--database", metavar="URL", help="sqlite:///FILE or postgresql://USER@HOST/NAME."),
    click.option("--workers", type=int, metavar="N", help="Worker processes."),
    click.option(
        "--insecure-no-auth",
        is_flag=True,
        default=None,
        help="Listen beyond loopback without identity: everyone who reaches the port is an admin.",
    ),
)


def setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags. A flag after a subcommand overrides the same flag before it."""

    @wraps(command)
    def run(**given: Any) -> Any:
        flags = click.get_current_context().ensure_object(dict)
        files = given.pop("config_file")
        flags["config_file"] = flags.get("config_file", ()) + files
        for flag, setting in _FLAGS.items():
            value = given.pop(flag)
            if value is not None:
                flags[setting] = value
        return command(**given)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def is_database_given() -> bool:
    """Whether the command, or one before it, has the flag --database."""
    return _FLAGS["database"] in click.get_current_context().ensure_object(dict)


def load_settings() -> Loaded:
    """The settings of this invocation. Prints a warning with the options that the program does not have.

    Raises Invalid for a file or a value that cannot be used.
    """
    flags = dict(click.get_current_context().ensure_object(dict))
    files = list(flags.pop("config_file", ())) or ([str(SYSTEM_FILE)] if SYSTEM_FILE.exists() else [])
    loaded = load(files, flags)
    click.get_current_context().meta[DATABASE] = loaded.settings.database.connection
    if loaded.unknown:
        names = ", ".join(loaded.unknown)
        click.echo(f"warning: ignored options that this program does not have: {names}", err=True)
    return loaded
