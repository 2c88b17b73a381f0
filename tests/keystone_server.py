# SPDX-License-Identifier: Apache-2.0
"""A program for the virtual environment .venv/keystone: makes a Keystone in a folder that has none, and serves it.

Usage: keystone_server.py FOLDER PORT PASSWORD. Each request leaves a line in FOLDER/requests: method, path, status.
"""

import grp
import os
import pwd
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import waitress
from keystone.cmd import cli
from keystone.server.wsgi import initialize_public_application

from keystone import conf

# Without its cache Keystone asks its database 450 times for each token; with tokens in it, a revoked one would be good.
CONFIG = """
[DEFAULT]
log_file = {folder}/keystone.log
[database]
connection = sqlite:///{folder}/keystone.sqlite
[fernet_tokens]
key_repository = {folder}/keys
[fernet_receipts]
key_repository = {folder}/keys
[identity]
password_hash_rounds = 4
[cache]
enabled = true
backend = dogpile.cache.memory
[token]
caching = false
[revoke]
caching = false
"""
TOKEN_SECONDS = 3600

Environ = dict[str, Any]


def make(folder: Path, port: int, password: str) -> Path:
    """Keystone's configuration, tables, keys and administrator."""
    config = folder / "keystone.conf"
    if config.exists():
        return config
    (folder / "keys").mkdir(mode=0o700)
    config.write_text(CONFIG.format(folder=folder))
    manage(config, "db_sync")
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    manage(config, "fernet_setup", "--keystone-user", user, "--keystone-group", group)
    url = f"http://127.0.0.1:{port}/v3"
    places = [f"--bootstrap-{place}-url={url}" for place in ("public", "internal", "admin")]
    manage(config, "bootstrap", "--bootstrap-password", password, "--bootstrap-region-id", "here", *places)
    return config


def manage(config: Path, *command: str) -> None:
    """`keystone-manage`, in a child: loading Keystone anew takes longer than what there is to do."""
    child = os.fork()
    if child == 0:
        cli.main(["keystone-manage", "--config-file", str(config), *command])
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status != 0:
        sys.exit(f"keystone-manage {command[0]} failed")


class Served:
    """Keystone, with a line for each request; X-Token-Seconds says for how long a new token is good."""

    def __init__(self, folder: Path) -> None:
        self._keystone = initialize_public_application()
        self._requests = folder / "requests"
        self._lock = threading.Lock()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, *rest: Any) -> Any:
            line = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {status[:3]}\n"
            with self._lock, self._requests.open("a") as lines:
                lines.write(line)
            return start_response(status, *rest)

        seconds = environ.get("HTTP_X_TOKEN_SECONDS")
        if seconds is None:
            return self._keystone(environ, start)
        conf.CONF.set_override("expiration", int(seconds), "token")
        try:
            return self._keystone(environ, start)
        finally:
            conf.CONF.set_override("expiration", TOKEN_SECONDS, "token")


def main() -> None:
    folder, port, password = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    config = make(folder, port, password)
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = str(config)
    del sys.argv[1:]
    waitress.serve(Served(folder), host="127.0.0.1", port=port, threads=4)


if __name__ == "__main__":
    main()
