"""The steps of a plan: for each patch a column with it, and one without it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from refault.catalogue import left_out_of, patches_of_column


class PlanSet(NamedTuple):
    """A patch set of the batch; ``parameters`` are canonical JSON.

    Names are not unique, and sets may differ in nothing but their parameters: ``id`` is theirs
    alone. ``titles`` are those of the patches where these are numbers only: of a kernel's series.
    """

    name: str
    base: str
    patches: tuple[str, ...]
    parameters: str = "{}"
    id: str = ""
    titles: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        base: str,
        patches: Iterable[str],
        parameters: Mapping[str, Any],
        key: str,
        titles: Iterable[str] = (),
    ) -> Self:
        """The set of that ``key``."""
        words = json.dumps(parameters, sort_keys=True)
        return cls(name, base, tuple(patches), words, key, tuple(titles))

    def title_of(self, patch: str) -> str:
        """What a patch of a kernel's series is called; nothing where the id is a name."""
        known = dict(zip(self.patches, self.titles, strict=False))
        return known.get(patch, "")


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
    def patch_title(self) -> str:
        """What the patch of a kernel's series is called; nothing for one of the catalogue."""
        own = self.before if self.is_removal else self.now
        return own.patch_set.title_of(self.patch)

    @property
    def title(self) -> str:
        """``patch 3 (parent-stop-bit)``, or the name of a sibling."""
        if self.number is None:
            return self.patch
        if not self.patch.isdecimal():
            return f"patch {self.number} ({self.patch})"
        # A kernel's patch is known by its number in that series, also where others are left out.
        return (
            f"patch {self.patch} ({self.patch_title})"
            if self.patch_title
            else f"patch {self.patch}"
        )

    @property
    def subject(self) -> str:
        """The same at the beginning of a sentence; a name stays as it is."""
        title = self.title
        return title if self.number is None else f"P{title.removeprefix('p')}"


def stages_of(plan: str, columns: Sequence[PlanColumn]) -> list[Stage]:
    """The steps of a plan; of a matrix those between patch sets under the same values."""
    match plan:
        case "series":
            return _of_series(columns)
        case "ablation":
            return _of_ablation(columns)
        case "each":
            return _of_siblings(columns)
        case "matrix":
            return _of_matrix(columns)
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
    return [
        Stage(column.label, None, column, first)
        for column in others
        if column.variant_digest != first.variant_digest and _adds(column.patch_set, first)
    ]


def _adds(one: PlanSet, first: PlanColumn, varied: Collection[str] = ()) -> bool:
    """Whether a set has more patches than that of ``first``, and differs in nothing else.

    ``varied`` are what the plan sets, whatever the patch sets say.
    """
    other = first.patch_set
    own, others = (
        {key: value for key, value in json.loads(each.parameters).items() if key not in varied}
        for each in (one, other)
    )
    is_on_same_base = "base" in varied or one.base == other.base
    return is_on_same_base and own == others and set(other.patches) < set(one.patches)


def _of_matrix(columns: Sequence[PlanColumn]) -> list[Stage]:
    """Under each combination of values each patch set against the first."""
    groups: dict[str, list[PlanColumn]] = {}
    for column in columns:
        groups.setdefault(values_of(column), []).append(column)
    stages = []
    for values, (first, *others) in groups.items():
        varied = {word.partition("=")[0].replace("-", "_") for word in values.split()}
        stages += [
            Stage(column.label, None, column, first)
            for column in others
            if column.variant_digest != first.variant_digest
            and _adds(column.patch_set, first, varied)
        ]
    return stages


def values_of(column: PlanColumn) -> str:
    """The values that a column of a matrix was given, as its label has them."""
    return column.label.removeprefix(column.patch_set.name).strip()


def stages_among(columns: Sequence[PlanColumn]) -> tuple[str, list[Stage]]:
    """The plan that columns amount to that were chosen one by one, and its steps.

    A series where each has more patches than the one before, else siblings. The patch sets are
    the columns' own.
    """
    pairs = list(itertools.pairwise(columns))
    if not pairs:
        return "each", []
    if not all(_adds(now.patch_set, before) for before, now in pairs):
        return "each", _of_siblings(columns)
    whole = columns[-1].patch_set.patches
    stages = []
    for before, now in pairs:
        held = set(before.patch_set.patches)
        more = [patch for patch in now.patch_set.patches if patch not in held]
        is_prefix = now.patch_set.patches == whole[: len(now.patch_set.patches)]
        number = len(now.patch_set.patches) if len(more) == 1 and is_prefix else None
        stages.append(Stage(" + ".join(more), number, now, before))
    return "series", stages
