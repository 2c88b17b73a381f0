# SPDX-License-Identifier: Apache-2.0
"""What the bytes of an image are, found while they stream past.

The inspector is the one of oslo.utils, which Nova and Cinder trust, too. Source of the rules: what Glance 33 answers
(`require_image_format_match`), and the facts about its `format_inspection`.
"""

from collections.abc import Iterator
from typing import Any, cast

from glance_registry.model.errors import FormatRefused

PLAIN_CONTAINER = "bare"
"""Only the bytes of such images are the disk itself; in other containers there is a disk among other things."""

UNKNOWN_FORMATS = frozenset({"ami", "aki", "ari", "ploop"})
"""Formats that the inspector does not know: nothing detected is what they must be."""

# A bootable ISO has a partition table, too: it is both, and is an ISO.
_BOOTABLE_ISO = {"iso", "gpt"}


_FIRST_PIECE_BYTES = 65_536
"""Of the first chunk, in which all headers are."""


class _Chunks(Iterator[bytes]):
    """The chunk that is looked at, as the stream that the inspector reads."""

    chunk: bytes | None = None

    def __next__(self) -> bytes:
        if self.chunk is None:
            raise StopIteration
        return self.chunk


class Inspection:
    """Looks at each chunk of an image once, in order. Memory: a few hundred KiB, whatever the image's size."""

    def __init__(self, disk_format: str, container_format: str, *, require_match: bool = True) -> None:
        self._disk_format = disk_format
        self._is_plain = container_format == PLAIN_CONTAINER
        self._require_match = require_match
        self._chunks = _Chunks()
        self._wrapper: Any = None
        if self._is_plain:
            # Loaded with the first upload: it takes 18 MiB and a third of a second.
            from oslo_utils.imageutils.format_inspector import InspectWrapper

            self._wrapper = InspectWrapper(cast("Any", self._chunks))
        self._size = 0

    def look(self, chunk: bytes) -> None:
        """Look at the next chunk."""
        if self._wrapper is not None:
            # An inspector that finds in a header where to look next does not find that in the same piece.
            size = _FIRST_PIECE_BYTES if self._size == 0 else len(chunk)
            for start in range(0, len(chunk), size):
                self._chunks.chunk = chunk[start : start + size]
                next(self._wrapper)
        self._size += len(chunk)

    def finish(self) -> int | None:
        """The disk's virtual size in bytes, None when it is unknown. Call it after the last chunk.

        Raises FormatRefused when the bytes are of another format than the image says, or not safe.
        """
        if self._wrapper is None:
            return None
        self._chunks.chunk = None
        next(self._wrapper, None)
        found = {str(one): one for one in self._wrapper.formats or ()}
        if set(found) == _BOOTABLE_ISO:
            del found["gpt"]
        for inspector in found.values():
            self._check_safety(inspector)
        if len(found) > 1:
            raise FormatRefused(f"The bytes are of several formats at once: {', '.join(sorted(found))}.")
        ((name, inspector),) = found.items() or (("raw", None),)
        return self._virtual_size(name, inspector)

    def _virtual_size(self, name: str, inspector: Any) -> int | None:
        wanted = self._disk_format
        if wanted == "raw":
            return self._size or None  # Compat: the virtual size of no bytes is null.
        if name == wanted:
            return (int(inspector.virtual_size) or None) if inspector is not None else self._size
        if name == "raw" and wanted in UNKNOWN_FORMATS:
            return None
        if self._require_match:
            raise FormatRefused(
                f"The image's disk_format is {wanted}, but its bytes are {name}. Set the disk_format to what the bytes"
                " are."
            )
        return None

    @staticmethod
    def _check_safety(inspector: Any) -> None:
        from oslo_utils.imageutils.format_inspector import ImageFormatError, SafetyCheckFailed

        try:
            inspector.safety_check()
        except SafetyCheckFailed as error:
            raise FormatRefused(
                f"The bytes are {inspector} and not safe: {', '.join(sorted(error.failures))}. See docs/stores.md."
            ) from error
        except ImageFormatError as error:
            raise FormatRefused(f"The bytes look like {inspector}, but cannot be read as such: {error}.") from error
