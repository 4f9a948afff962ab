"""The steps of a plan: for each patch a column with it, and one without it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from refault.catalogue import left_out_of, patches_of_column


class PlanSet(NamedTuple):
    """A patch set of the batch; ``parameters`` are canonical JSON.

    Names are not unique, and sets may differ in nothing but their parameters: ``id`` is theirs
    alone.
    """

    name: str
    base: str
    patches: tuple[str, ...]
    parameters: str = "{}"
    id: str = ""

    @classmethod
    def of(
        cls, name: str, base: str, patches: Iterable[str], parameters: Mapping[str, Any], key: str
    ) -> Self:
        """The set of that ``key``."""
        return cls(name, base, tuple(patches), json.dumps(parameters, sort_keys=True), key)


class PlanColumn(NamedTuple):
    """A column of the batch, as the plan made it."""

    label: str
    variant_digest: str
    patch_set: PlanSet
    prefix_length: int | None

    def patches(self, plan: str) -> tuple[str, ...]:
        """The patches it has: those of its set, but for what the plan left out."""
        return patches_of_column(plan, self.label, self.prefix_length, self.patch_set.patches)


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


def patch_of(label: str, prefix_length: int | None, patches: Sequence[str]) -> str:
    """The patch that a column of a series adds, or that one of an ablation lacks; or nothing."""
    if prefix_length:
        return patches[prefix_length - 1] if prefix_length <= len(patches) else ""
    return left_out_of(label, patches) or ""


def _of_series(columns: Sequence[PlanColumn]) -> list[Stage]:
    stages = []
    # A base that several series share stands once, under the first of them.
    bases: dict[tuple[str, str], PlanColumn] = {}
    at: dict[tuple[PlanSet, int], PlanColumn] = {}
    for column in columns:
        own = column.patch_set
        length = len(own.patches) if column.prefix_length is None else column.prefix_length
        if length == 0:
            bases[own.base, own.parameters] = column
        at[own, length] = column
        before = at.get((own, length - 1))
        if before is None and length == 1:
            before = bases.get((own.base, own.parameters))
        if length and before is not None:
            stages.append(Stage(own.patches[length - 1], length, column, before))
    return stages


def _of_ablation(columns: Sequence[PlanColumn]) -> list[Stage]:
    stages = []
    whole: dict[PlanSet, PlanColumn] = {}
    for column in columns:
        now = whole.setdefault(column.patch_set, column)
        patch = left_out_of(column.label, column.patch_set.patches)
        if column is not now and patch is not None:
            number = column.patch_set.patches.index(patch) + 1
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
        and column.patch_set.parameters == first.patch_set.parameters
        and held < set(column.patch_set.patches)
        and column.variant_digest != first.variant_digest
    ]
