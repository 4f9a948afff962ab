"""What an engine is, and what the host it opens for one variant must do.

::

    Engine   name, counters, digest, refuses(header, variant)      no compiler needed to ask
       │ open(variant, header, …)
       ▼
    Host     begin, execute rows, abort; counters, state; pack and restore where it can

A variant names its engine; the rest of it is a configuration that only this engine reads.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from refault.limits import FAULTS_ONLY
from refault.replay.guests import needs_five_levels
from refault.replay.source import engine_digest

if TYPE_CHECKING:
    from refault.catalogue import Variant
    from refault.replay.budget import Budget
    from refault.replay.notes import Notes
    from refault.replay.operations import Operations
    from refault.trace import TraceHeader


@dataclasses.dataclass(frozen=True, slots=True)
class Watch:
    """What is noted of a run besides its result, for comparison with recorded results.

    Every outcome with ``record_all``; all counters after every operation with ``rows``; and all
    counters and the digest of the pages after every ``sample_every`` operations. ``events`` is
    given the text of KVM's tracepoints. Nothing of it changes the result.
    """

    record_all: bool = False
    rows: bool = False
    sample_every: int = 0
    events: Callable[[str], object] | None = None


class Host(Protocol):
    """One variant's host, and what its run has shown so far."""

    variant: Variant
    notes: Notes
    #: Operations executed so far, those before the trace's own included.
    operation_count: int
    #: After every ``sample_every`` operations: the latest, digest of the pages, counters.
    samples: list[tuple[int, int, list[int]]]
    #: Whether the simulated kernel broke; nothing is executed any more.
    stopped: bool

    def begin(self) -> None:
        """Execute what comes before a capture's first event: vCPUs and memory."""

    def execute(self, ops: Operations, count: int) -> None:
        """Execute the first ``count`` rows, up to where the kernel breaks.

        Raises:
            ReplayCancelled: it was aborted.
            SimulatorCrashed: the engine has a defect.
        """

    def abort(self) -> None:
        """Make ``execute``, in another thread, end soon; the host is of no use any more."""

    def counters(self) -> dict[str, int]:
        """Totals under the engine's names, in their order."""

    def work(self) -> dict[str, int]:
        """How accesses found their translation (:data:`refault.results.WORK`), or nothing."""

    def page_digest(self) -> str:
        """A digest of the shadow pages it holds, or ``none`` where an engine has none."""

    def page_set(self) -> list[list[int]]:
        """Those pages: gfn, role, unsync, unsync_children, root_count, present, parents."""

    def state(self) -> dict[str, Any]:
        """Its words under their names, as JSON: what a debugger would show."""

    def pack(self) -> tuple[dict[str, Any], Sequence[Any]]:
        """All it remembers, for a snapshot: numbers for the head, and arrays of words."""

    def restore(
        self,
        head: Mapping[str, Any],
        sizes: Sequence[int],
        words_of: Callable[[int], Any],
    ) -> None:
        """Take up what ``pack`` gave; ``words_of`` reads the next array, of so many words.

        Raises:
            ReplayTooLarge: it would take more memory than it may.
            SnapshotRefused: no run of this variant leads there.
        """


class _HostModule(Protocol):
    """The module ``host`` of an engine's package."""

    def open_host(
        self, variant: Variant, header: TraceHeader, budget: Budget, watch: Watch
    ) -> Host: ...

    def warm_up(self) -> None: ...


def what_no_engine_can(header: TraceHeader, variant: Variant) -> str:
    """Why no engine can replay a trace with that header, or an empty string."""
    del variant
    return FAULTS_ONLY if header.origin == "host-events" else ""


def what_four_levels_cannot(header: TraceHeader, variant: Variant) -> str:
    """Why an engine that knows four levels of page tables cannot replay it."""
    return what_no_engine_can(header, variant) or needs_five_levels(header)


@dataclasses.dataclass(frozen=True, slots=True)
class Engine:
    """What executes operations: its name, what it counts, and what it refuses.

    ``package`` is where its code is; its module ``host`` opens hosts. ``counters`` are the names
    of what it counts, in order. ``refuses`` says why it cannot replay a trace with that header
    under a variant, or nothing. ``compiled_with`` are modules of the library, neither its own nor
    shared by all engines, that decide what its kernels do. ``resumes``: its hosts can be stored, so
    that a run goes on where it was; if not, it begins anew.
    """

    name: str
    title: str
    package: str
    counters: tuple[str, ...]
    refuses: Callable[[TraceHeader, Variant], str] = what_four_levels_cannot
    compiled_with: tuple[str, ...] = ()
    resumes: bool = True

    @property
    def digest(self) -> str:
        """The digest under which its results are stored (sha256, hex)."""
        return engine_digest(self.package, self.compiled_with)

    def open(
        self, variant: Variant, header: TraceHeader, budget: Budget, watch: Watch | None = None
    ) -> Host:
        """A host for this variant, before its first operation. Loads the engine's compiler."""
        return self._module().open_host(variant, header, budget, watch or Watch())

    def warm_up(self) -> None:
        """Compile every kernel of it, or load it from the cache, in this thread."""
        self._module().warm_up()

    def _module(self) -> _HostModule:
        # By name: what asks an engine for its name must not bring a compiler along.
        return cast("_HostModule", importlib.import_module(f"{self.package}.host"))
