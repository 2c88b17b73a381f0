# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, in the words of the catalogue; `api/errors.py` gives each its HTTP status."""

from typing import ClassVar


class RegistryError(Exception):
    """Base of every error that a caller may be told about; `str(error)` is the sentence."""

    code: ClassVar[str] = "error"


class Invalid(RegistryError):
    """The request cannot be right, whoever sends it."""

    code = "invalid"


class NotFound(RegistryError):
    """There is no such thing, or the caller may not know that there is."""

    code = "not-found"


class Unauthorized(RegistryError):
    """The caller must say who it is, and has not done so, or not convincingly; `challenge` says how it can."""

    code = "unauthorized"

    def __init__(self, sentence: str, challenge: str = "") -> None:
        super().__init__(sentence)
        self.challenge = challenge


class Forbidden(RegistryError):
    """The caller may see the thing but not do this to it."""

    code = "forbidden"


class Conflict(RegistryError):
    """The request contradicts what the catalogue holds now."""

    code = "conflict"


class UploadTaken(Conflict):
    """A newer request goes on with the upload that this one was at."""

    code = "upload-taken"


class UploadBusy(Conflict):
    """Another request is at the upload; `seconds` says when to try again."""

    code = "upload-busy"

    def __init__(self, sentence: str, seconds: int) -> None:
        super().__init__(sentence)
        self.seconds = seconds


class WrongOffset(Conflict):
    """The bytes do not go on where the upload ends; `offset` says where that is."""

    code = "wrong-offset"

    def __init__(self, offset: int) -> None:
        super().__init__(f"The upload has {offset} bytes; go on with the byte at that offset.")
        self.offset = offset


class PreconditionFailed(RegistryError):
    """The image or membership is not the version that If-Match names: somebody else changed it."""

    code = "precondition-failed"


class TooLarge(RegistryError):
    """The request is larger than a setting allows."""

    code = "too-large"


class Unavailable(RegistryError):
    """The database does not answer now; the same request may succeed later."""

    code = "unavailable"


class OutcomeUnknown(Unavailable):
    """The database was lost just when it kept a change: only a look tells whether it did."""

    code = "outcome-unknown"


class Overloaded(Unavailable):
    """Too many requests wait for the database already, most of them this caller's."""

    code = "overloaded"

    def __init__(self) -> None:
        super().__init__("The database is busy: too many requests wait for it.")


class ReadTimeout(Unavailable):
    """A read, with its wait for the database, took longer than a setting allows; it was stopped."""

    code = "read-timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The database did not answer this request within {seconds:g} seconds.")


class IdentityUnavailable(Unavailable):
    """What knows the callers does not answer now, so nobody is let in; the same request may succeed later."""

    code = "identity-unavailable"


class LimitsUnavailable(Unavailable):
    """Keystone does not tell how much a project may have, so it gets no more; the same request may succeed later."""

    code = "limits-unavailable"


class StorageFull(RegistryError):
    """The database has no room left for a write; reads go on."""

    code = "storage-full"


class Gone(RegistryError):
    """What the request was about was removed or taken by another one while it ran."""

    code = "gone"


class FormatRefused(RegistryError):
    """The bytes of an image are not what its disk_format says, or not safe."""

    code = "format-refused"


class StoreUnavailable(Unavailable):
    """A store does not answer, or not as a store should; the same request may succeed later."""

    code = "store-unavailable"

    def __init__(self, store: str) -> None:
        super().__init__(f"Store '{store}' does not answer.")
        self.store = store


class StoreFull(TooLarge):
    """A store has no room left."""

    code = "store-full"

    def __init__(self, store: str) -> None:
        super().__init__(f"Store '{store}' has no room left for these bytes.")
        self.store = store
