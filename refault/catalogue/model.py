"""The nouns of the catalogue: patches, bases, patch sets, their parameters, variants.

::

    Base + Patch, Patch, …  =  PatchSet  ── resolve() ──►  Variant
    (the kernel code)          (what is asked for)         (a complete configuration)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from refault.catalogue.layouts import layout_document
from refault.errors import InvalidParameter

#: In front of the name of a kernel built of the user's own tree (:mod:`refault.linux`).
KERNEL = "kernel:"
PAGE_LIMIT_MAX = 1 << 20
SCHEDULE_PERIOD_MAX = 1 << 40
BYPASS_VALUES = (0, 1)
HOST_PAGE_LEVELS = (1, 2, 3)
TLB_VALUES = (0, 1)
TDP_VALUES = (0, 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Beginning:
    """The beginning of a diff of which only truncated copies exist, and its diffstat.

    ``digest`` covers its first ``count`` changed lines.
    """

    count: int
    digest: str
    added: int
    removed: int


@dataclasses.dataclass(frozen=True, slots=True)
class Patch:
    """One proposed change to the MMU, with its history.

    ``date`` is ISO 8601, as exact as it is known. ``knobs`` are what it sets;
    none means it changes no behaviour. ``requires`` names patches that must
    come before it, or another form of them: ``form_of`` names the patch of the
    series of which this one is another form or a part. ``short`` is its part
    of a variant's short name. ``reconstruction`` says what had to be guessed,
    or is empty. ``merged_in`` names bases that already have it, and as what;
    ``not_on`` those on which it makes no sense, and why: on both it is
    refused. ``layout`` names the layout it gives struct kvm_mmu_page
    (:mod:`refault.catalogue.layouts`), or is empty.

    The rest identifies a mail of it: digests, never a line of the diff.
    ``diff_ids`` name what its diffs change (:func:`refault.series.diff_id`), one for
    each form in which it was mailed or merged; where several commits together are
    the patch, ``parts`` has the ids of each. ``places`` holds the neighbours of the
    changed lines (``refault.series.diffs.Diff.places``) for ids that could be
    elsewhere too; ``elsewhere`` names patches that change the same lines there.
    ``beginning`` is what is left of a mail of which every copy is truncated.
    ``files`` are those its diffs touch, ``subjects`` those of its mails, without
    tags: a subject alone makes a candidate, never a match.
    """

    id: str
    title: str
    author: str
    date: str
    summary: str
    claim: str
    objection: str
    fate: str
    knobs: Mapping[str, int]
    requires: tuple[str, ...]
    source: str
    short: str
    form_of: str | None = None
    reconstruction: str = ""
    merged_in: Mapping[str, str] = dataclasses.field(default_factory=dict)
    not_on: Mapping[str, str] = dataclasses.field(default_factory=dict)
    layout: str = ""
    subjects: tuple[str, ...] = ()
    diff_ids: tuple[str, ...] = ()
    parts: tuple[tuple[str, ...], ...] = ()
    places: Mapping[str, str] = dataclasses.field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()
    beginning: Beginning | None = None
    files: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The patch as JSON, with the sizes of its layout."""
        return dataclasses.asdict(self) | {
            "knobs": dict(self.knobs),
            "requires": list(self.requires),
            "subjects": list(self.subjects),
            "diff_ids": list(self.diff_ids),
            "parts": [list(part) for part in self.parts],
            "places": dict(self.places),
            "elsewhere": list(self.elsewhere),
            "files": list(self.files),
            "merged_in": dict(self.merged_in),
            "not_on": dict(self.not_on),
            "layout": layout_document(self.layout) if self.layout else None,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Base:
    """The code a patch set is applied to, and the engine that executes it.

    ``knobs`` holds a value for every knob of the shadow MMU, or none for another engine.
    """

    id: str
    title: str
    date: str
    commit: str
    knobs: Mapping[str, int]
    engine: str = "shadow"

    def to_dict(self) -> dict[str, Any]:
        """The base as JSON."""
        return dataclasses.asdict(self) | {"knobs": dict(self.knobs)}


@dataclasses.dataclass(frozen=True, slots=True)
class Schedule:
    """A page limit that changes: ``first``, then ``then`` and ``first`` in turn.

    It changes after every ``every`` operations of the trace itself, like the limit
    ``sq`` of the golden results.
    """

    first: int
    then: int
    every: int

    def __post_init__(self) -> None:
        _within(self.first, 1, PAGE_LIMIT_MAX, "page_limit.first")
        _within(self.then, 1, PAGE_LIMIT_MAX, "page_limit.then")
        _within(self.every, 1, SCHEDULE_PERIOD_MAX, "page_limit.every")

    def to_dict(self) -> dict[str, int]:
        """The schedule as JSON."""
        return {"first": self.first, "then": self.then, "every": self.every}


@dataclasses.dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a variant besides its patches.

    ``page_limit``: shadow pages a VM may have; None is KVM's own default, the
    larger of 64 and 2 % of the guest's pages. ``bypass``: VMX's
    bypass_guest_pf; None is that of the trace (0 for a capture).
    ``host_page_level``: 1, 2 or 3 for host memory in 4 KiB, 2 MiB or 1 GiB pages.
    ``tlb``: 1 gives each processor a TLB; the golden results have none. ``tdp``: 1 lets a kernel of
    the user's own use two-dimensional paging: no shadow pages at all.
    """

    page_limit: int | Schedule | None = None
    bypass: int | None = None
    host_page_level: int = 1
    tlb: int = 0
    tdp: int = 0

    def __post_init__(self) -> None:
        if self.page_limit is not None and not isinstance(self.page_limit, Schedule):
            _within(self.page_limit, 1, PAGE_LIMIT_MAX, "page_limit")
        if self.bypass is not None:
            _within(self.bypass, BYPASS_VALUES[0], BYPASS_VALUES[-1], "bypass")
        _within(self.host_page_level, HOST_PAGE_LEVELS[0], HOST_PAGE_LEVELS[-1], "host_page_level")
        _within(self.tlb, TLB_VALUES[0], TLB_VALUES[-1], "tlb")
        _within(self.tdp, TDP_VALUES[0], TDP_VALUES[-1], "tdp")

    def to_dict(self) -> dict[str, Any]:
        """The parameters as JSON; a schedule is an object.

        Without ``tdp`` unless it is set: rows of before there was one keep their digest.
        """
        limit = self.page_limit
        return {
            "page_limit": limit.to_dict() if isinstance(limit, Schedule) else limit,
            "bypass": self.bypass,
            "host_page_level": self.host_page_level,
            "tlb": self.tlb,
        } | ({"tdp": self.tdp} if self.tdp else {})

    def to_words(self) -> list[str]:
        """The parameters that are not the default, as ``name=value``."""
        limit = self.page_limit
        words = []
        if isinstance(limit, Schedule):
            words.append(f"page-limit={limit.first}/{limit.then}/{limit.every}")
        elif limit is not None:
            words.append(f"page-limit={limit}")
        if self.bypass is not None:
            words.append(f"bypass={self.bypass}")
        if self.host_page_level != 1:
            words.append(f"host-page-level={self.host_page_level}")
        if self.tlb:
            words.append("tlb=1")
        if self.tdp:
            words.append("tdp=1")
        return words

    @classmethod
    def from_dict(cls, body: object) -> Parameters:
        """The parameters of a JSON object; absent ones have their default.

        Raises:
            InvalidParameter: naming the field.
        """
        fields = _object(
            body, ("page_limit", "bypass", "host_page_level", "tlb", "tdp"), "parameters"
        )
        limit = fields.get("page_limit")
        if isinstance(limit, Mapping):
            parts = _object(limit, ("first", "then", "every"), "page_limit")
            absent = [name for name in ("first", "then", "every") if name not in parts]
            if absent:
                raise InvalidParameter(
                    f"page_limit: a schedule also needs {' and '.join(absent)}; "
                    'for example {"first": 400, "then": 64, "every": 32768}'
                )
            fields["page_limit"] = Schedule(**parts)
        return cls(**fields)


@dataclasses.dataclass(frozen=True, slots=True)
class PatchSet:
    """A base, an ordered list of patches and parameters: what is asked for."""

    base: str = "v2.6.34-pre"
    patches: tuple[str, ...] = ()
    parameters: Parameters = dataclasses.field(default_factory=Parameters)

    def to_dict(self) -> dict[str, Any]:
        """The patch set as JSON."""
        return {
            "base": self.base,
            "patches": list(self.patches),
            "parameters": self.parameters.to_dict(),
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Variant:
    """What a patch set resolves to: an engine and a complete configuration of it.

    ``digest`` names it, and covers knobs, parameters and the engine (except shadow, which was once
    the only one), so two patch sets that make the same machine are one variant, whatever patches
    they list. ``name`` is for people (``v2.6.34-pre +zap-account``), ``short_name`` for narrow
    places (``p2``). ``golden_name`` is the name of these knobs in the golden results; None means
    that the real kernel code was never run with them, and every place that shows a number of this
    variant says so. ``build`` is the digest of the program that runs it, of a kernel of the user's
    own (:mod:`refault.linux`).
    """

    base: str
    patches: tuple[str, ...]
    parameters: Parameters
    knobs: Mapping[str, int]
    digest: str
    name: str
    short_name: str
    golden_name: str | None
    engine: str = "shadow"
    build: str = ""

    @property
    def patch_set(self) -> PatchSet:
        """The patch set this variant was resolved from."""
        return PatchSet(self.base, self.patches, self.parameters)

    def to_dict(self) -> dict[str, Any]:
        """The variant as JSON."""
        return {
            "base": self.base,
            "patches": list(self.patches),
            "parameters": self.parameters.to_dict(),
            "knobs": dict(self.knobs),
            "digest": self.digest,
            "name": self.name,
            "short_name": self.short_name,
            "golden_name": self.golden_name,
            "engine": self.engine,
        } | ({"build": self.build} if self.build else {})


def is_kernel(base: str) -> bool:
    """Whether a base is a kernel of the user's own: nothing the catalogue can resolve."""
    return base.startswith(KERNEL)


def kernel_label(name: str, numbers: Sequence[int]) -> str:
    """A kernel with some of its patches: ``mine+1..2`` of a prefix, ``mine+1+3`` of others."""
    count = len(numbers)
    if count > 1 and list(numbers) == list(range(1, count + 1)):
        return f"{name}+1..{count}"
    return "+".join((name, *map(str, numbers)))


def _within(value: object, low: int, high: int, field: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidParameter(
            f"{field}: expected a whole number from {low} to {high}, got {value!r}"
        )
    if not low <= value <= high:
        raise InvalidParameter(f"{field}: {value} is outside {low} to {high}")


def _object(body: object, names: tuple[str, ...], place: str) -> dict[str, Any]:
    if not isinstance(body, Mapping):
        raise InvalidParameter(f"{place}: expected an object, got {type(body).__name__}")
    unknown = sorted(str(name) for name in body if name not in names)
    if unknown:
        raise InvalidParameter(
            f"{place}: {', '.join(unknown)} unknown; there are {', '.join(names)}"
        )
    return dict(body)
