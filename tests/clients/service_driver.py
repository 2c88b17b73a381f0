# SPDX-License-Identifier: Apache-2.0
"""Runs in the environment of the services: calls of the class with which Nova, Cinder or Ironic uses images.

Started with the service's name. A call a line from standard input, its outcome a line to standard output. Lines are
JSON. A call has the `environ` of its caller (OS_… and IMAGE_ENDPOINT), a `method` of the service and its `kwargs`.
"""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any, Protocol

from keystoneauth1.identity.v3 import Password
from keystoneauth1.session import Session


class Service(Protocol):
    """What every service does with images, for one caller."""

    def create(self, name: str, disk_format: str, file: str) -> str: ...

    def show(self, image: str) -> dict[str, Any]: ...

    def download(self, image: str, file: str) -> None: ...


class Nova:
    """A compute node: the image of a snapshot, and that of a new instance."""

    def __init__(self, environ: dict[str, str]) -> None:
        import nova.conf
        from nova.context import RequestContext
        from nova.image.glance import API

        nova.conf.CONF([], default_config_files=[])
        nova.conf.CONF.set_override("api_servers", [environ["IMAGE_ENDPOINT"]], "glance")
        self._context = RequestContext(**signed_in(environ))
        self._api = API()

    def create(self, name: str, disk_format: str, file: str) -> str:
        """As a snapshot of an instance: first the metadata, then the bytes, of which Nova does not say how many."""
        properties = {"instance_uuid": "11111111-1111-4111-8111-111111111111", "image_type": "snapshot"}
        sent = {"name": name, "disk_format": disk_format, "container_format": "bare", "properties": properties}
        image: str = self._api.create(self._context, {**sent, "visibility": "private"})["id"]
        with Path(file).open("rb") as data:
            self._api.update(self._context, image, {"name": name, "properties": properties}, data, purge_props=False)
        return image

    def show(self, image: str) -> dict[str, Any]:
        shown: dict[str, Any] = self._api.get(self._context, image)
        return shown

    def download(self, image: str, file: str) -> None:
        self._api.download(self._context, image, dest_path=file)

    def activate(self, name: str) -> dict[str, Any]:
        """The image of an instance that boots from a volume: its bytes are a snapshot, so Nova uploads none."""
        sent = {"name": name, "size": 0, "properties": {"root_device_name": "vda"}}
        made: dict[str, Any] = self._api.create(self._context, sent)
        return made


class Cinder:
    """A volume: made of an image, and made into one."""

    def __init__(self, environ: dict[str, str]) -> None:
        import cinder.image.image_utils  # noqa: F401 It must come before the next ones, which import each other.
        from cinder.common import config
        from cinder.context import RequestContext
        from cinder.image.glance import GlanceImageService

        config.CONF([], default_config_files=[])
        config.CONF.set_override("glance_api_servers", [environ["IMAGE_ENDPOINT"]])
        self._context = RequestContext(**signed_in(environ))
        self._service = GlanceImageService()

    def create(self, name: str, disk_format: str, file: str) -> str:
        """As an upload of a volume: the store is named, and so is the image of which the volume was made."""
        sent = {"name": name, "disk_format": disk_format, "container_format": "bare", "properties": {"volume": "yes"}}
        image: str = self._service.create(self._context, sent)["id"]
        with Path(file).open("rb") as data:
            self._service.update(
                self._context, image, {}, data, purge_props=False, store_id="local", base_image_ref=image
            )
        return image

    def show(self, image: str) -> dict[str, Any]:
        return self._service.show(self._context, image)

    def download(self, image: str, file: str) -> None:
        with Path(file).open("wb") as data:
            self._service.download(self._context, image, data)

    def location(self, image: str) -> list[Any]:
        """Asked first of every image that becomes a volume; whoever may not know locations reads the image."""
        return list(self._service.get_location(self._context, image))


class Ironic:
    """A conductor: the image of a node. It makes no images, so this one is made with its client."""

    def __init__(self, environ: dict[str, str]) -> None:
        import ironic.common.image_service  # noqa: F401 It must come before the next ones, which import each other.
        import openstack
        from ironic.common import context
        from ironic.common.glance_service.image_service import GlanceImageService
        from ironic.conf import CONF

        CONF([], default_config_files=[])
        auth = Password(**of_password(environ))
        made = openstack.connection.Connection(
            session=Session(auth), image_endpoint_override=environ["IMAGE_ENDPOINT"], image_api_version="2"
        )
        self._client = made.image
        caller = signed_in(environ)
        del caller["service_catalog"]
        who = context.RequestContext(is_admin=False, **caller)
        self._service = GlanceImageService(self._client, who)

    def create(self, name: str, disk_format: str, file: str) -> str:
        sent = {"disk_format": disk_format, "container_format": "bare", "visibility": "community"}
        made = self._client.create_image(name, filename=file, **sent)
        image: str = made.id
        return image

    def show(self, image: str) -> dict[str, Any]:
        shown: dict[str, Any] = self._service.show(image)
        return shown

    def download(self, image: str, file: str) -> None:
        with Path(file).open("wb") as data:
            self._service.download(image, data)


def of_password(environ: dict[str, str]) -> dict[str, str]:
    """How a caller signs in."""
    names = ("auth_url", "username", "password", "project_name", "user_domain_id", "project_domain_id")
    return {name: environ[f"OS_{name.upper()}"] for name in names}


def signed_in(environ: dict[str, str]) -> dict[str, Any]:
    """What a service knows of a caller once Keystone has checked the token."""
    session = Session(Password(**of_password(environ)))
    access = session.auth.get_access(session)
    return {
        "auth_token": access.auth_token,
        "user_id": access.user_id,
        "project_id": access.project_id,
        "roles": access.role_names,
        "service_catalog": [],
    }


def plain(value: Any) -> Any:
    """What JSON has room for."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if isinstance(value, str | int | float | None) else str(value)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    # What a service logs on standard output is no outcome.
    outcomes = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    make = {"nova": Nova, "cinder": Cinder, "ironic": Ironic}[sys.argv[1]]
    callers: dict[str, Service] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        who = json.dumps(asked["environ"], sort_keys=True)
        try:
            service = callers[who] if who in callers else callers.setdefault(who, make(asked["environ"]))
            answer = {"value": plain(getattr(service, asked["method"])(**asked["kwargs"]))}
        except Exception as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        print(json.dumps(answer), file=outcomes, flush=True)
