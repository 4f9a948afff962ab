"""The steps of a plan: for each patch a column with it, and one without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class PlanSet(NamedTuple):
    """A patch set of the batch."""

    name: str
    base: str
    patches: Sequence[str]


class PlanColumn(NamedTuple):
    """A column of the batch, as the plan made it."""

    label: str
    variant_digest: str
    patch_set: PlanSet
    prefix_length: int | None


class Stage(NamedTuple):
    """A step before it is judged: the column with the patch, and the one without it.

    ``is_removal`` says that the patch was taken away to see what it does.
    """

    patch: str
    number: int | None
    now: PlanColumn
    before: PlanColumn
    is_removal: bool = False

    @property
    def title(self) -> str:
        """``patch 3 (parent-stop-bit)``, or the name of a sibling."""
        return self.patch if self.number is None else f"patch {self.number} ({self.patch})"

    @property
    def subject(self) -> str:
        """The same at the beginning of a sentence; a name stays as it is."""
        return self.patch if self.number is None else f"Patch {self.number} ({self.patch})"


def stages_of(plan: str, columns: Sequence[PlanColumn]) -> list[Stage]:
    """The steps of a plan; none of a matrix, whose columns differ in more than patches."""
    match plan:
        case "series":
            return _of_series(columns)
        case "ablation":
            return _of_ablation(columns)
        case "each":
            return _of_siblings(columns)
        case _:
            return []


def _of_series(columns: Sequence[PlanColumn]) -> list[Stage]:
    stages = []
    # A base that several series share stands once, under the first of them.
    at: dict[tuple[PlanSet | str, int], PlanColumn] = {}
    for column in columns:
        own = column.patch_set
        length = len(own.patches) if column.prefix_length is None else column.prefix_length
        if length == 0:
            at[own.base, 0] = column
        at[_key(own), length] = column
        before = at.get((_key(own), length - 1)) or at.get((own.base, length - 1))
        if length and before is not None:
            stages.append(Stage(own.patches[length - 1], length, column, before))
    return stages


def _key(own: PlanSet) -> str:
    return f"{own.name} {own.base} {'+'.join(own.patches)}"


def _of_ablation(columns: Sequence[PlanColumn]) -> list[Stage]:
    stages = []
    whole: dict[str, PlanColumn] = {}
    for column in columns:
        now = whole.setdefault(_key(column.patch_set), column)
        patch = column.label.rpartition("without ")[2]
        if column is not now and patch in column.patch_set.patches:
            number = list(column.patch_set.patches).index(patch) + 1
            stages.append(Stage(patch, number, now, column, is_removal=True))
    return stages


def _of_siblings(columns: Sequence[PlanColumn]) -> list[Stage]:
    """Each column against the first, if that is its base with fewer patches."""
    first, *others = columns
    held = set(first.patch_set.patches)
    return [
        Stage(column.label, None, column, first)
        for column in others
        if column.patch_set.base == first.patch_set.base
        and held < set(column.patch_set.patches)
        and column.variant_digest != first.variant_digest
    ]
