"""What builds of a series would take, before any of them is made: for ``--dry-run``.

The tree as it is has to be compiled for that, as only the compiler knows which files a unit reads;
where it was compiled before, nothing is. Of the patched ones only the patches are applied.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from refault.catalogue import Numbers
from refault.errors import PatchRefused
from refault.linux import build as building
from refault.linux.patches import Patch, apply
from refault.linux.store import Store
from refault.linux.tree import Tree
from refault.linux.units import ADDED_TO


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """Of a tree and choices of patches on it.

    ``units`` are the files of C in all builds, ``compiled`` those that differ from one another, and
    ``seconds`` what these take a processor here, as they were last measured; None: some never were.
    ``refused`` says why a choice of patches cannot be built, by its numbers.
    """

    builds: int
    units: int
    compiled: int
    seconds: float | None
    refused: dict[Numbers, str]

    @property
    def shared(self) -> int:
        """Units that another build has as well."""
        return self.units - self.compiled


def estimate(
    tree: Tree,
    patches: Sequence[Patch],
    chosen: Sequence[Numbers],
    store: Store,
    options: building.Options,
    progress: building.Progress | None = None,
) -> Estimate:
    """Estimate builds; raises BuildFailed if the tree does not compile as it is."""
    refused: dict[Numbers, str] = {}
    with store.scratch() as folder:
        base = building.compile_base(Path(folder), tree, store, options, progress)
        for numbers in chosen:
            place = Path(folder) / "patched"
            building.copy_read(base.work, place, base.read, tree.root)
            try:
                for number in numbers:
                    apply(patches[number - 1], place / "tree", tree.root, patches[: number - 1])
            except PatchRefused as error:
                refused[numbers] = str(error)
            shutil.rmtree(place)
    wanted = [numbers for numbers in chosen if numbers not in refused]
    different = {
        (unit, _on(unit, files, numbers, patches))
        for numbers in wanted
        for unit, files in _units(base.units, numbers, patches)
    }
    count = sum(len(_units(base.units, numbers, patches)) for numbers in wanted)
    times = [base.seconds.get(unit) for unit, _ in different]
    known = [seconds for seconds in times if seconds is not None]
    # A unit that a patch adds was never compiled: as long as another one.
    mean = sum(known) / len(known) if known else None
    return Estimate(
        builds=len(wanted),
        units=count,
        compiled=len(different),
        seconds=None if mean is None else sum(known) + mean * (len(times) - len(known)),
        refused=refused,
    )


def _on(
    unit: str, files: frozenset[str], numbers: Numbers, patches: Sequence[Patch]
) -> tuple[int, ...]:
    """Those of the patches that touch what a unit reads."""
    names = files | {unit}
    return tuple(
        number
        for number in numbers
        if any(f"tree/{name}" in names for name in patches[number - 1].files)
    )


def _units(
    base: dict[str, frozenset[str]], numbers: Numbers, patches: Sequence[Patch]
) -> list[tuple[str, frozenset[str]]]:
    """The units of a build: those of the tree, and those that its patches add."""
    added = {
        f"tree/{name}"
        for number in numbers
        for name in patches[number - 1].files
        if name.startswith(f"{ADDED_TO}/") and name.endswith(".c") and f"tree/{name}" not in base
    }
    return [*base.items(), *((unit, frozenset({unit})) for unit in sorted(added))]
