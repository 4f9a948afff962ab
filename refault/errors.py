"""Everything refault raises on purpose, as one tree.

::

    RefaultError
    ├── TraceError                 a trace cannot be used; carries the byte offset
    │   ├── NotATrace              the first bytes are not a refault trace
    │   ├── UnsupportedTraceVersion
    │   ├── TraceCorrupt           a checksum, a size or an event is wrong
    │   ├── TraceTruncated         the file ends before its closing index
    │   ├── TraceTooLarge          a declared size is over its bound
    │   └── TraceTooCostly         a replay of it takes more than the service gives
    ├── ImportFailed               a foreign file cannot become a trace
    ├── CatalogueError
    │   ├── UnknownPatch
    │   ├── UnknownBase
    │   ├── UnknownEngine
    │   ├── ContradictingPatches   two patches set one knob
    │   ├── MissingRequirement     a patch sits on another that is not in the set
    │   ├── WrongBase              a base has the patch already, or it makes no sense there
    │   └── InvalidParameter
    ├── SeriesError                a file of mails holds no series that can be used
    ├── ReplayError
    │   ├── ReplayRefused          the trace asks for what the machine cannot have
    │   │   └── ReplayTooLarge     it needs more memory than it may take
    │   ├── ReplayCancelled
    │   ├── ReplayOutOfTime        it took longer than it may
    │   ├── SimulatorCrashed       the simulator's own defect under a variant
    │   └── ConservationError      a result breaks a conservation law: no number leaves
    ├── ResultError                a stored result cannot be read
    ├── ComparisonError
    │   └── DrawingTooLarge        more cells than one drawing may have
    └── ServiceError               the service, as the client and the rooms see it
        ├── NotFound
        ├── Conflict
        │   ├── VersionMismatch        it was changed since the caller saw it
        │   └── RequestUnderWay    its Idempotency-Key is in use right now
        ├── EmptyBatch             a batch with nothing to run
        ├── NoSimulator            no worker has registered a simulator
        ├── InvalidRequest         a request says what cannot be
        │   └── KeyReused          another request had this Idempotency-Key
        ├── UploadRefused
        │   ├── UploadTooLarge         more bytes than the service takes
        │   ├── UploadStalled          the bytes stopped coming
        │   ├── DigestMismatch         the bytes that came are not those that were sent
        │   ├── ChecksumMismatch       the same of one part of an upload, which was dropped
        │   ├── UploadBusy             another request writes to the same upload
        │   ├── UploadGone             it expired, was refused, or its bytes were lost
        │   ├── UploadHeaderInvalid    a header of the upload protocol cannot be read
        │   ├── WrongOffset            a part that does not begin where the last one ended
        │   └── ProtocolMismatch       another version of the upload protocol
        ├── BlobDamaged            a stored file is not what its name says
        ├── Unauthenticated        nobody we know asks: no secret, or one that does not hold
        ├── Forbidden              whoever asks may not do this
        ├── QuotaExceeded          the project has as much as it may have
        ├── RateLimited            too often in too short a time
        ├── Unavailable            the service, or its database, cannot be reached or is too busy
        │   └── Busy               it has as much of this to do as it takes on at once
        ├── DrawingFailed          the drawing ended without a picture
        ├── ServiceFault           a defect of the service or its database: nobody's request
        └── Refused                the service answered with a problem

The tree knows no HTTP: ``services/api/errors.py`` maps it to statuses, and ``worker/shards.py``
says what each makes of an attempt. Every message names the
place (file, byte, event, patch) and what to do about it.
"""

from __future__ import annotations


class RefaultError(Exception):
    """Root of everything refault raises on purpose; ``str()`` is fit to show."""


class TraceError(RefaultError):
    """A trace cannot be used. ``offset`` is the byte of the file, if one can be named."""

    def __init__(self, message: str, *, offset: int | None = None) -> None:
        self.offset = offset
        super().__init__(message if offset is None else f"byte {offset}: {message}")


class NotATrace(TraceError):
    """The file does not begin like a refault trace."""


class UnsupportedTraceVersion(TraceError):
    """The trace was written in a version of the format this program cannot read."""


class TraceCorrupt(TraceError):
    """Part of the trace contradicts its own checksum, sizes or rules."""


class TraceTruncated(TraceError):
    """The trace ends before its closing index."""


class TraceTooLarge(TraceError):
    """A declared size is over the bound that is checked before memory is taken."""


class TraceTooCostly(TraceError):
    """A replay of the trace takes more time or memory than the service gives."""


class ImportFailed(RefaultError):
    """A foreign file cannot be turned into a trace."""


class CatalogueError(RefaultError):
    """A patch set cannot be turned into a variant."""


class UnknownPatch(CatalogueError):
    """No patch of that id is in the catalogue."""


class UnknownBase(CatalogueError):
    """No base of that id is in the catalogue."""


class UnknownEngine(CatalogueError):
    """There is no engine of that name."""


class ContradictingPatches(CatalogueError):
    """Two patches of one set change the same knob."""


class MissingRequirement(CatalogueError):
    """A patch sits on another one that the set lacks."""


class WrongBase(CatalogueError):
    """A patch on a base that has it already, or on which it makes no sense."""


class InvalidParameter(CatalogueError):
    """A parameter of a patch set is outside its range."""


class SeriesError(RefaultError):
    """A file of mails cannot be read as a series of patches."""


class ReplayError(RefaultError):
    """A replay ended without a result."""


class ReplayRefused(ReplayError):
    """The trace asks for something the simulated host cannot give."""


class ReplayTooLarge(ReplayRefused):
    """The replay needs more memory than it may take; some of its variants alone may need less."""


class ReplayCancelled(ReplayError):
    """The caller asked the replay to stop."""


class SimulatorCrashed(ReplayError):
    """The simulator failed while it executed operations under a variant: a defect of its own.

    Raised by the simulated host alone, and by nothing around it: not by callbacks of a replay,
    not for want of memory. Nothing else may be stored as a variant's crash. ``str()`` is the
    exception and the tail of its traceback.
    """


class ReplayOutOfTime(ReplayError):
    """The replay took longer than it may, so it was stopped."""


class SnapshotRefused(ReplayError):
    """A snapshot is damaged, or of another replay: start from the beginning."""


class ConservationError(ReplayError):
    """A result breaks a conservation law, so none of its numbers may be used."""


class ResultError(RefaultError):
    """A stored result cannot be read back."""


class ComparisonError(RefaultError):
    """Runs cannot be compared with each other."""


class DrawingTooLarge(ComparisonError):
    """A comparison has more cells than one drawing may have."""


class ServiceError(RefaultError):
    """The service cannot do what was asked."""


class NotFound(ServiceError):
    """No such trace, patch set, batch or run."""


class Conflict(ServiceError):
    """The request contradicts what is already there."""


class VersionMismatch(Conflict):
    """The resource was changed since the caller saw it."""


class RequestUnderWay(Conflict):
    """A request with the same Idempotency-Key has no answer yet."""


class EmptyBatch(ServiceError):
    """The batch has nothing to run."""


class NoSimulator(ServiceError):
    """No worker has registered a simulator yet, so nothing can be planned."""


class InvalidRequest(ServiceError):
    """A request says what cannot be: a field, a header or a cursor the service cannot read."""


class KeyReused(InvalidRequest):
    """An Idempotency-Key came with another request than the one it was used for."""


class UploadRefused(ServiceError):
    """An upload was refused for a reason that is not in the trace itself."""


class UploadTooLarge(UploadRefused):
    """The upload has more bytes than the service takes."""


class UploadStalled(UploadRefused):
    """The bytes of an upload stopped coming."""


class DigestMismatch(UploadRefused):
    """The bytes that came do not have the digest the sender named."""


class ChecksumMismatch(UploadRefused):
    """One part of an upload does not have the checksum the sender named; it was dropped."""


class UploadBusy(UploadRefused):
    """Another request writes to the same upload right now."""


class UploadGone(UploadRefused):
    """The upload cannot go on: it expired, was refused, or its bytes were lost."""


class UploadHeaderInvalid(UploadRefused):
    """A header of the upload protocol is missing or cannot be read."""


class WrongOffset(UploadRefused):
    """A part of an upload does not begin where the last one ended."""


class ProtocolMismatch(UploadRefused):
    """The sender speaks another version of the upload protocol."""


class BlobDamaged(ServiceError):
    """A stored file does not have the sha256 that is its name: none of it may be used."""


class Unauthenticated(ServiceError):
    """The request shows no secret that holds, so nobody is known to ask."""


class Forbidden(ServiceError):
    """Whoever asks is known, and may not do this."""


class QuotaExceeded(ServiceError):
    """The project has as much as it may have."""


class RateLimited(ServiceError):
    """Too many requests in too short a time; ``retry_after_seconds`` says when there is room."""

    def __init__(self, message: str, *, retry_after_seconds: int = 60) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class Unavailable(ServiceError):
    """The service, its database or its broker cannot be reached, or is too busy for now."""


class ServiceFault(ServiceError):
    """A defect of the service, or damage to its database; whoever asked did nothing wrong."""


class Busy(Unavailable):
    """As much of this waits already as may; ``retry_after_seconds`` says when to ask again."""

    def __init__(self, message: str, *, retry_after_seconds: int = 5) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class DrawingFailed(ServiceError):
    """The process that draws ended without a picture, or took too long."""


class Refused(ServiceError):
    """The service answered with an RFC 9457 problem; ``problem`` is its body."""

    def __init__(self, message: str, *, status: int, problem: dict[str, object]) -> None:
        self.status = status
        self.problem = problem
        super().__init__(message)
