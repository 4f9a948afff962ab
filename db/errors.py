"""What the database and the blobs refuse by themselves.

::

    ServiceError                   refault/errors.py, which has NotFound and Unavailable too
    ├── Conflict
    │   ├── RequestUnderWay        its Idempotency-Key is in use right now
    │   └── KernelNotBuilt         a kernel of a user's tree that nobody has built yet
    ├── NoSimulator                no worker has registered a simulator
    ├── UploadBusy                 another request writes to the same upload
    ├── UploadGone                 it expired, was refused, or its bytes were lost
    ├── BlobDamaged                a stored file is not what its name says
    ├── Forbidden                  the caller may not do this
    ├── QuotaExceeded              the project has as much as it may have
    └── ServiceFault               a defect of the service or its database: nobody's request
"""

from __future__ import annotations

from refault.errors import ServiceError


class Conflict(ServiceError):
    """The request contradicts what is already there."""


class RequestUnderWay(Conflict):
    """A request with the same Idempotency-Key has no answer yet."""


class KernelNotBuilt(Conflict):
    """A kernel is not built with those patches, or not yet."""


class NoSimulator(ServiceError):
    """No worker has registered a simulator yet, so nothing can be planned."""


class UploadBusy(ServiceError):
    """Another request writes to the same upload right now."""


class UploadGone(ServiceError):
    """The upload cannot go on: it expired, was refused, or its bytes were lost."""


class BlobDamaged(ServiceError):
    """A stored file does not have the sha256 that is its name: none of it may be used."""


class Forbidden(ServiceError):
    """The caller is known, and may not do this."""


class QuotaExceeded(ServiceError):
    """The project has as much as it may have."""


class ServiceFault(ServiceError):
    """A defect of the service, or damage to its database; the caller did nothing wrong."""
