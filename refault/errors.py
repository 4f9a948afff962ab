"""Everything refault raises on purpose, as one tree.

::

    RefaultError
    ├── TraceError                 a trace cannot be used; carries the byte offset
    │   ├── NotATrace              the first bytes are not a refault trace
    │   ├── UnsupportedTraceVersion
    │   ├── TraceCorrupt           a checksum, a size or an event is wrong
    │   ├── TraceTruncated         the file ends before its closing index
    │   └── TraceTooLarge          a declared size is over its bound
    ├── ImportFailed               a foreign file cannot become a trace
    ├── CaptureError               a guest cannot be captured
    ├── SynthFailed                a synthetic guest cannot do what its recipe says
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
    │   ├── SimulatorCrashed       the simulator's own defect under a variant
    │   ├── SnapshotRefused        a snapshot is damaged, or of another replay
    │   ├── ShrinkRefused          a trace cannot be shrunk
    │   │   └── NothingToShrink    it does not show what is to be kept
    │   └── ConservationError      a result breaks a conservation law: no number leaves
    ├── ResultError                a stored result cannot be read
    ├── BundleError                a file is no bundle, or not one that can be read
    ├── ComparisonError
    │   └── DrawingTooLarge        more cells than one drawing may have
    └── ServiceError               the service, as its clients see it
        ├── NotFound
        ├── EmptyBatch             a batch with nothing to run
        ├── InvalidRequest         a request says what cannot be
        ├── DigestMismatch         the bytes that came are not those that were sent
        ├── Unavailable            the service, or part of it, cannot be reached or is too busy
        └── Refused                the service answered with a problem

What only the service raises is in ``db/errors.py`` and ``services/api/refusals.py``, with
``ServiceError`` as its root. Neither tree knows HTTP: ``services/api/errors.py`` maps both to
statuses, and ``worker/shards.py`` says what each means for an attempt. Every message names the
place (file, byte, event, patch) and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


class ImportFailed(RefaultError):
    """A foreign file cannot be turned into a trace."""


class CaptureError(RefaultError):
    """A guest cannot be captured: something is missing, or the guest did not do its part."""


class SynthFailed(RefaultError):
    """A synthetic guest cannot do what its recipe, or an address stream, asks for."""


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


class KernelError(RefaultError):
    """A tree, or patches on it, cannot be made a program."""


class NotATree(KernelError):
    """There is no Linux tree that can be built here."""


class NoCompiler(KernelError):
    """A tool that a build needs is not on this machine."""


class BuildFailed(KernelError):
    """A unit does not compile, or the program does not link; ``unit`` says which.

    ``str()`` has the compiler's messages, with the places as the user's tree names them.
    """

    def __init__(self, message: str, unit: str = "") -> None:
        super().__init__(message)
        self.unit = unit


class PatchRefused(KernelError):
    """A patch does not apply to the tree."""


class UnknownKernel(KernelError):
    """No kernel of that name is built on this machine."""


class Unfaithful(KernelError):
    """A kernel without any patch does not do what a real guest saw: it cannot be used."""


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


class SnapshotRefused(ReplayError):
    """A snapshot is damaged, or of another replay: start from the beginning."""


class ShrinkRefused(ReplayError):
    """A trace cannot be shrunk: its state is another's, or a file cannot be written."""


class NothingToShrink(ShrinkRefused):
    """The trace does not show what is to be kept; the message says what it shows instead."""


class ConservationError(ReplayError):
    """A result breaks a conservation law, so none of its numbers may be used."""


class ResultError(RefaultError):
    """A stored result cannot be read back."""


class BundleError(RefaultError):
    """A bundle cannot be made, or a file cannot be read as one."""


class ComparisonError(RefaultError):
    """Runs cannot be compared with each other."""


class DrawingTooLarge(ComparisonError):
    """A comparison has more cells than one drawing may have."""


class ServiceError(RefaultError):
    """The service cannot do what was asked."""


class NotFound(ServiceError):
    """No such trace, patch set, batch or run."""


class EmptyBatch(ServiceError):
    """The batch has nothing to run."""


class InvalidRequest(ServiceError):
    """A request says what cannot be: a field, a header or a cursor the service cannot read."""


class DigestMismatch(ServiceError):
    """The bytes that came do not have the digest the sender named."""


class Unavailable(ServiceError):
    """The service, its database or its broker cannot be reached, or is too busy for now."""


class Refused(ServiceError):
    """The service answered with an RFC 9457 problem; ``problem`` is its body."""

    def __init__(self, message: str, *, status: int, problem: dict[str, object]) -> None:
        self.status = status
        self.problem = problem
        super().__init__(message)


def nearest(word: str, words: Iterable[str]) -> str:
    """The hint `` (did you mean p3?)`` for a message on an unknown word; empty if none is near."""
    near = difflib.get_close_matches(word, list(words), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
