"""Plans: the columns that a batch makes from patch sets.

==========  =====================================================================
plan        columns
==========  =====================================================================
each        one per patch set, as given
series      the base, then one per prefix of each patch set
ablation    each patch set whole, then without each of its patches in turn
matrix      each patch set under every combination of the chosen axes
==========  =====================================================================

A combination that the catalogue refuses (without a patch that another requires, or
with a patch that the base already has) is not an error of an ablation or a
matrix: it is listed in ``refused`` with the reason, beside the columns that can
be run.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from refault.catalogue.model import Parameters, PatchSet, Schedule, Variant, is_kernel
from refault.catalogue.resolve import prefix_label, prefixes, resolve
from refault.errors import CatalogueError, InvalidParameter, UnknownBase

PLANS = ("each", "series", "ablation", "matrix")

AXES = ("base", "page_limit", "bypass", "host_page_level", "tlb", "tdp")
"""What a matrix may vary, the slowest axis first; the patch sets vary fastest."""

COMBINATIONS_MAX = 1_000

AxisValue = str | int | Schedule | None
Make = Callable[[PatchSet], Variant]


@dataclasses.dataclass(frozen=True, slots=True)
class NamedSet:
    """A patch set and the name of its columns."""

    name: str
    patch_set: PatchSet


@dataclasses.dataclass(frozen=True, slots=True)
class PlannedColumn:
    """A column; ``set_index`` is the index of its patch set among the given ones.

    ``prefix_length`` is set in a plan of prefixes only.
    """

    label: str
    set_index: int
    prefix_length: int | None
    variant: Variant


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A combination that makes no machine, and why."""

    label: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Expansion:
    """The outcome of a plan. ``columns[0]`` is the base of the comparison."""

    columns: tuple[PlannedColumn, ...]
    refused: tuple[Refusal, ...] = ()


def expand(
    named: Sequence[NamedSet],
    plan: str,
    axes: Mapping[str, Sequence[AxisValue]] | None = None,
    make: Make = resolve,
) -> Expansion:
    """The columns of ``plan`` over these patch sets; ``axes`` are for a matrix only.

    ``make`` makes a machine of a patch set: where there are kernels of users' own, it knows them.

    Raises:
        InvalidParameter: there is no such plan or axis, an axis has no values or is repeated, axes
            are given to another plan, or there are more than 1,000 combinations.
        CatalogueError: a patch set that was asked for as given makes no machine.
    """
    if plan not in PLANS:
        raise InvalidParameter(f"no plan {plan!r}: choose one of {', '.join(PLANS)}")
    if axes and plan != "matrix":
        raise InvalidParameter(f"axes: plan {plan} has none; choose plan matrix")
    match plan:
        case "each":
            columns = (
                PlannedColumn(entry.name, index, None, make(entry.patch_set))
                for index, entry in enumerate(named)
            )
            return Expansion(tuple(columns))
        case "series":
            return Expansion(tuple(_series(named, make)))
        case "ablation":
            return _sorted_out(_ablation(named), make)
        case _:
            return _sorted_out(_matrix(named, axes or {}), make)


def _series(named: Sequence[NamedSet], make: Make) -> Iterator[PlannedColumn]:
    """Prefixes in order; a base that several series share appears once."""
    bases_seen: set[str] = set()
    for index, entry in enumerate(named):
        # A prefix on a kernel says of which.
        has_own = is_kernel(entry.patch_set.base)
        lead = f"{entry.name} " if len(named) > 1 and not has_own else ""
        for prefix in prefixes(entry.patch_set):
            variant = make(prefix)
            length = len(prefix.patches)
            label = prefix_label(prefix)
            if length == 0:
                if variant.digest in bases_seen:
                    continue
                bases_seen.add(variant.digest)
                yield PlannedColumn(label, index, 0, variant)
            else:
                yield PlannedColumn(lead + label, index, length, variant)


_WITHOUT = "without "


def left_out_of(label: str, patches: Sequence[str]) -> str | None:
    """The patch that a column of an ablation lacks, by its label; None of a whole one."""
    patch = label.rpartition(_WITHOUT)[2] if _WITHOUT in label else ""
    return patch if patch in patches else None


def patches_of_column(
    plan: str, label: str, prefix_length: int | None, patches: Sequence[str]
) -> tuple[str, ...]:
    """The patches of a column: those of its patch set, but for what its plan left out."""
    if plan == "series" and prefix_length is not None:
        return tuple(patches[:prefix_length])
    left_out = left_out_of(label, patches) if plan == "ablation" else None
    return tuple(patch for patch in patches if patch != left_out)


Numbers = tuple[int, ...]
"""Which patches of a kernel, from 1, in the order they apply; none is the tree as it is."""

BUILD_PLANS = ("each", "series", "ablation")
"""Plans over the patches of a series on a kernel."""


def builds_of(plan: str, count: int) -> list[Numbers]:
    """What a plan over a series of so many patches needs built, the tree as it is first.

    Raises:
        InvalidParameter: there is no such plan.
    """
    whole = tuple(range(1, count + 1))
    match plan:
        case "series":
            found = [whole[:length] for length in range(count + 1)]
        case "ablation":
            rests = (tuple(other for other in whole if other != number) for number in whole)
            found = [(), whole, *rests]
        case "each":
            found = [(), *((number,) for number in whole)]
        case _:
            raise InvalidParameter(f"plan: expected one of {', '.join(BUILD_PLANS)}")
    return list(dict.fromkeys(found))


_Wish = tuple[str, int, PatchSet]


def _ablation(named: Sequence[NamedSet]) -> Iterator[_Wish]:
    """The whole set first, as the others are compared with it."""
    for index, entry in enumerate(named):
        whole = entry.patch_set
        lead = f"{entry.name} " if len(named) > 1 else ""
        yield entry.name, index, whole
        for place, patch_id in enumerate(whole.patches):
            rest = (*whole.patches[:place], *whole.patches[place + 1 :])
            yield (
                f"{lead}{_WITHOUT}{patch_id}",
                index,
                dataclasses.replace(whole, patches=rest),
            )


def _matrix(named: Sequence[NamedSet], axes: Mapping[str, Sequence[AxisValue]]) -> Iterator[_Wish]:
    chosen = [axis for axis in AXES if axis in axes]
    unknown = sorted(set(axes) - set(AXES))
    if unknown:
        raise InvalidParameter(f"axes: {', '.join(unknown)} unknown; there are {', '.join(AXES)}")
    if not chosen:
        raise InvalidParameter(f"axes: a matrix needs at least one of {', '.join(AXES)}")
    count = len(named)
    for axis in chosen:
        if not axes[axis]:
            raise InvalidParameter(f"axes.{axis}: has no values")
        count *= len(axes[axis])
    if count > COMBINATIONS_MAX:
        raise InvalidParameter(
            f"axes: {count:,} combinations are more than {COMBINATIONS_MAX:,}; choose fewer values"
        )
    for values in itertools.product(*(axes[axis] for axis in chosen)):
        given = dict(zip(chosen, values, strict=True))
        words = " ".join(f"{axis.replace('_', '-')}={_word(given[axis])}" for axis in chosen)
        for index, entry in enumerate(named):
            yield f"{entry.name} {words}", index, _varied(entry.patch_set, given)


def _varied(patch_set: PatchSet, given: Mapping[str, AxisValue]) -> PatchSet:
    parameters = {
        name: getattr(patch_set.parameters, name)
        for name in Parameters.__dataclass_fields__
        if name not in given
    }
    parameters |= {name: value for name, value in given.items() if name != "base"}
    base = given.get("base", patch_set.base)
    return PatchSet(str(base), patch_set.patches, Parameters(**parameters))


def _word(value: AxisValue) -> str:
    if value is None:
        return "default"
    if isinstance(value, Schedule):
        return f"{value.first}/{value.then}/{value.every}"
    return str(value)


def _sorted_out(wishes: Iterator[_Wish], make: Make) -> Expansion:
    """The columns that resolve, and those refused; the same label of the same machine is one."""
    columns: dict[tuple[str, str], PlannedColumn] = {}
    refused: dict[str, Refusal] = {}
    for label, index, wanted in wishes:
        try:
            variant = make(wanted)
        except (InvalidParameter, UnknownBase):
            # A value that no machine can have is a typing error, not a combination that fails.
            raise
        except CatalogueError as error:
            refused.setdefault(label, Refusal(label, str(error)))
            continue
        columns.setdefault((label, variant.digest), PlannedColumn(label, index, None, variant))
    if not columns and refused:
        first = next(iter(refused.values()))
        raise CatalogueError(f"every combination is refused; {first.label}: {first.reason}")
    return Expansion(tuple(columns.values()), tuple(refused.values()))
