"""What a kernel of the user's own must show before it is used: a real guest, as it was.

A capture knows what its guest saw. A kernel without any patch that lets it see something else is
built or driven wrongly, and nothing it counts can be believed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from refault.catalogue import KERNEL, PatchSet, Variant
from refault.errors import Unfaithful
from refault.linux.store import Build, Store
from refault.linux.variants import resolve_kernel
from refault.replay.session import replay
from refault.results import DISAGREEMENTS, RunResult

#: Where an installed package has the captures, and a checkout.
_PLACES = (Path(__file__).with_name("captures"), Path(__file__).parents[2] / "demo/traces")


@dataclasses.dataclass(frozen=True, slots=True)
class Agreement:
    """How much of what real guests saw a kernel showed them too."""

    witnessed: int
    deviating: int
    first: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether all of it."""
        return self.witnessed > 0 and self.deviating == 0 and not self.first

    def __str__(self) -> str:
        if self.is_whole:
            return f"{self.witnessed:,} of {self.witnessed:,} accesses as on the real guests"
        return (
            f"{self.deviating:,} of {self.witnessed:,} accesses otherwise than on the real guests; "
            f"first: {self.first}"
        )


def captures() -> list[Path]:
    """The captures that every kernel is held to."""
    return sorted(path for place in _PLACES for path in place.glob("*.rft"))


def agreement_of(
    variant: Variant,
    traces: Sequence[Path],
    progress: Callable[[int, int], None] | None = None,
) -> Agreement:
    """Replay the captures under a variant, and count what came out as witnessed."""
    witnessed = deviating = 0
    first = ""
    for number, path in enumerate(traces):
        (result,) = replay(path, [variant])
        witnessed += result.semantics["witnessed"]
        deviating += sum(result.semantics[name] for name in DISAGREEMENTS)
        first = first or _first_of(result, path)
        if progress is not None:
            progress(number + 1, len(traces))
    return Agreement(witnessed, deviating, first)


def require(variant: Variant, traces: Sequence[Path]) -> Agreement:
    """The agreement of an unpatched kernel; raises Unfaithful unless it is whole."""
    found = agreement_of(variant, traces)
    if not found.is_whole:
        raise Unfaithful(
            f"{variant.name} is not used: {found}. Without a patch this is a defect of how it is "
            "built or driven here; please report it with the release"
        )
    return found


def checked(made: Build, store: Store) -> Build:
    """An unpatched build with what the captures say of it, asked once; raises Unfaithful."""
    traces = captures()
    if made.check or not traces:
        return made
    variant = resolve_kernel(PatchSet(f"{KERNEL}{made.digest}"), store)
    made = dataclasses.replace(made, check=str(require(variant, traces)))
    store.put(made)
    return made


def _first_of(result: RunResult, path: Path) -> str:
    for finding in result.findings:
        place = f"event {finding.event_index}, operation {finding.operation_index}"
        return f"{path.name}, {place}: {finding.kind}: {finding.message}"
    return ""
