"""What only the API refuses; ``errors.py`` beside it maps these, too, to problems.

::

    ServiceError                   refault/errors.py
    ├── Conflict                   db/errors.py
    │   └── VersionMismatch            it was changed since the caller saw it
    ├── InvalidRequest             refault/errors.py
    │   └── KeyReused                  another request had this Idempotency-Key
    ├── UploadTooLarge             more bytes than the service takes
    ├── ChecksumMismatch           the bytes of one part of an upload are not those that were sent
    ├── UploadHeaderInvalid        a header of the upload protocol cannot be read
    ├── WrongOffset                a part that does not begin where the last one ended
    ├── ProtocolMismatch           another version of the upload protocol
    ├── RangeNotSatisfiable        a download that begins behind the end of the file
    ├── Unauthenticated            no secret, or one that does not hold
    ├── RateLimited                too often in too short a time
    ├── Unavailable                refault/errors.py
    │   └── Busy                       as much of this is under way as is taken on at once
    └── DrawingFailed              the drawing ended without a picture
"""

from __future__ import annotations

from db.errors import Conflict
from refault.errors import InvalidRequest, ServiceError, Unavailable


class VersionMismatch(Conflict):
    """The resource was changed since the caller saw it."""


class KeyReused(InvalidRequest):
    """An Idempotency-Key came with another request than the one it was used for."""


class UploadTooLarge(ServiceError):
    """The upload has more bytes than the service takes."""


class ChecksumMismatch(ServiceError):
    """One part of an upload does not have the checksum the sender named; it was dropped."""


class UploadHeaderInvalid(ServiceError):
    """A header of the upload protocol is missing or cannot be read."""


class WrongOffset(ServiceError):
    """A part of an upload does not begin where the last one ended."""


class ProtocolMismatch(ServiceError):
    """The sender speaks another version of the upload protocol."""


class RangeNotSatisfiable(ServiceError):
    """A download begins behind the end of a file of ``size_bytes``."""

    def __init__(self, message: str, *, size_bytes: int = 0) -> None:
        self.size_bytes = size_bytes
        super().__init__(message)


class Unauthenticated(ServiceError):
    """The request shows no secret that holds, so the caller is not known."""


class RateLimited(ServiceError):
    """Too many requests in too short a time; ``retry_after_seconds`` says when there is room."""

    def __init__(self, message: str, *, retry_after_seconds: int = 60) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class Busy(Unavailable):
    """As much of this waits already as may; ``retry_after_seconds`` says when to ask again."""

    def __init__(self, message: str, *, retry_after_seconds: int = 5) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class DrawingFailed(ServiceError):
    """The process that draws ended without a picture, or took too long."""
