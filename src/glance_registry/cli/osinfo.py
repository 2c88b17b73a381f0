# SPDX-License-Identifier: Apache-2.0
"""Reads images from libosinfo's database of operating systems, as bodies for the API.

Its format: https://gitlab.com/libosinfo/osinfo-db, docs and `schema/osinfo.rng`.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5
from xml.etree import ElementTree

from msgspec import Struct

_FORMATS = {
    **dict.fromkeys(("raw", "qcow2", "vmdk", "vdi", "vhd", "vhdx"), None),
    "vpc": "vhd",
}
"""Disk formats of virtual machines, and their name in OpenStack if it differs."""

_PACKED_SUFFIXES = (".xz", ".gz", ".bz2", ".zst", ".zip", ".7z", ".tar", ".tgz", ".ova", ".box")

# OpenStack's names where libosinfo has others ("Useful image properties").
_DISTROS = {"win": "windows", "winnt": "windows", "archlinux": "arch"}
_FAMILIES = {"winnt": "windows", "win9x": "windows", "win16": "windows"}
_ARCHITECTURES = {"i386": "i686"}

_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


class Unreadable(Exception):
    """The file is not from libosinfo; `str(error)` says why."""


class ListedImage(Struct, frozen=True):
    """An image that libosinfo lists: the body that registers it, or the reason to skip it."""

    body: dict[str, Any] | None = None
    reason: str | None = None


class _Tree(ElementTree.TreeBuilder):
    """Refuses a document type, so that a file cannot define entities that grow without end or read other files.

    Files of libosinfo have none. Expat limits the growth of entities from 2.4.1 on; older versions do not.
    """

    def doctype(self, name: str, public_id: str | None, system_id: str | None) -> NoReturn:  # noqa: ARG002
        raise Unreadable("it declares a document type, which files of libosinfo do not")


def read(path: Path) -> list[ListedImage]:
    """The images in one file. Raises Unreadable."""
    try:
        root = ElementTree.parse(path, ElementTree.XMLParser(target=_Tree())).getroot()  # noqa: S314 - see _Tree
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise Unreadable(str(error)) from None
    if root is None or root.tag != "libosinfo":
        raise Unreadable("its root element is not <libosinfo>")
    return [listed for system in root.iterfind("os") for listed in _read_system(system)]


def _read_system(system: ElementTree.Element) -> Iterator[ListedImage]:
    images = system.findall("image")
    names = Counter(_name(system, image) for image in images)
    for image in images:
        url = _text(image, "url")
        if reason := _reason_to_skip(image.get("format"), url):
            yield ListedImage(reason=reason)
            continue
        name = _name(system, image)
        if names[name] > 1:
            name = f"{name[:-1]}, {urlsplit(url).path.rpartition('/')[2]})"
        yield ListedImage(body=_body(system, image, name, url))


def _reason_to_skip(disk_format: str | None, url: str) -> str | None:
    if disk_format not in _FORMATS:
        return f"format {disk_format or '(none)'} is not a virtual machine's disk"
    if not url:
        return "it has no URL"
    packed = next((ending for ending in _PACKED_SUFFIXES if urlsplit(url).path.lower().endswith(ending)), None)
    return f"a {packed} file must be unpacked first" if packed else None


def _name(system: ElementTree.Element, image: ElementTree.Element) -> str:
    """A name such as "Debian 11 (generic, x86_64, qcow2)"."""
    name = _text(system, "name") or _text(system, "short-id") or system.get("id", "")
    return f"{name} ({', '.join([*_variants(image), image.get('arch', ''), image.get('format', '')])})"


def _body(system: ElementTree.Element, image: ElementTree.Element, name: str, url: str) -> dict[str, Any]:
    system_id, architecture = system.get("id", ""), image.get("arch", "")
    disk_format = image.get("format", "")
    family, distro = _text(system, "family"), _text(system, "distro")
    properties = {
        "architecture": _ARCHITECTURES.get(architecture, architecture),
        "os_type": _FAMILIES.get(family, family),
        "os_distro": _DISTROS.get(distro, distro),
        "os_version": _text(system, "version"),
        "os_codename": _text(system, "codename"),
        "os_vendor": _text(system, "vendor"),
        "os_variant": ", ".join(_variants(image)),
        "osinfo_id": system_id,
        "osinfo_short_id": _text(system, "short-id"),
        "cloud_init": image.get("cloud-init", ""),
    }
    return {
        # The same image has the same id in every run and in every registry.
        "id": str(uuid5(NAMESPACE_URL, f"{system_id} {url} {architecture}")),
        "name": name,
        "disk_format": _FORMATS[disk_format] or disk_format,
        "container_format": "bare",
        "is_public": True,
        "location": url,
        "properties": {name: value for name, value in properties.items() if value},
    }


def _variants(image: ElementTree.Element) -> list[str]:
    return [identifier for variant in image.iterfind("variant") if (identifier := variant.get("id"))]


def _text(element: ElementTree.Element, tag: str) -> str:
    """The text of the first such child that is not a translation; empty if there is none."""
    return next(
        ((child.text or "").strip() for child in element.iterfind(tag) if child.get(_LANGUAGE) is None),
        "",
    )
