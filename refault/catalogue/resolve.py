"""Resolves a patch set to the machine it makes, and lists the patch sets of a series."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgpack

from refault.catalogue.bases import ARCHITECTURE, BASES
from refault.catalogue.entries import PATCHES
from refault.catalogue.knobs import KNOBS
from refault.catalogue.model import (
    KERNEL,
    Base,
    Parameters,
    Patch,
    PatchSet,
    Schedule,
    Variant,
    is_kernel,
    kernel_label,
)
from refault.catalogue.named import GOLDEN, NAMED, SEED_SERIES
from refault.errors import (
    CatalogueError,
    ContradictingPatches,
    InvalidParameter,
    MissingRequirement,
    UnknownBase,
    UnknownPatch,
    WrongBase,
    nearest,
)

_PATCHES = {patch.id: patch for patch in PATCHES}
_BASES = {base.id: base for base in (*BASES, ARCHITECTURE)}


def patches() -> tuple[Patch, ...]:
    """Every patch of the catalogue: the seed series in order, each followed by its other forms.

    Those are in order of date, and so are those at the end that are no form of any; one of which
    only the year is known comes last in its year.
    """
    return tuple(sorted(PATCHES, key=_place))


def _place(patch: Patch) -> tuple[int, bool, str, str]:
    origin: str | None = patch.id
    while origin is not None and origin not in SEED_SERIES:
        of = get_patch(origin)
        origin = of.form_of or next(iter(of.requires), None)
    place = len(SEED_SERIES) if origin is None else SEED_SERIES.index(origin)
    return place, patch.id not in SEED_SERIES, patch.date.ljust(10, "9"), patch.id


def bases() -> tuple[Base, ...]:
    """Every base to which patches can be applied; ARCHITECTURE is not one."""
    return BASES


def get_patch(patch_id: str) -> Patch:
    """The patch of that id; raises UnknownPatch."""
    try:
        return _PATCHES[patch_id]
    except KeyError:
        raise UnknownPatch(
            f"patch {patch_id!r} is not in the catalogue{nearest(patch_id, _PATCHES)}; "
            f"there are {', '.join(sorted(_PATCHES))}"
        ) from None


def get_base(base_id: str) -> Base:
    """The base of that id; raises UnknownBase."""
    try:
        return _BASES[base_id]
    except KeyError:
        if base_id.startswith(KERNEL):
            raise UnknownBase(
                f"base {base_id!r} is a kernel built on one machine, and only that machine runs "
                "it: refault replay TRACE -v " + base_id
            ) from None
        raise UnknownBase(
            f"base {base_id!r} is not in the catalogue{nearest(base_id, _BASES)}; "
            f"there is {', '.join(_BASES)}"
        ) from None


def resolve(patch_set: PatchSet) -> Variant:
    """The machine a patch set makes.

    Raises:
        UnknownBase, UnknownPatch: naming what is not in the catalogue.
        ContradictingPatches: one patch twice, or two that set one knob (also to the same value:
            two forms of one change cannot both be applied), unless both leave it as it is.
        MissingRequirement: a patch without the one it requires, before it or in the base.
        WrongBase: a patch on a base that already has it, or on which it makes no sense.
        InvalidParameter: a parameter of a hypervisor for an engine without one.
    """
    base = get_base(patch_set.base)
    chosen = [get_patch(patch_id) for patch_id in patch_set.patches]
    if base.engine != "shadow":
        return _without_patches(base, chosen, patch_set.parameters)
    _refuse_duplicates(chosen)
    _refuse_base(chosen, base)
    knobs = dict(base.knobs)
    for knob, patch in _setters(chosen, base).items():
        knobs[knob] = patch.knobs[knob]
    _refuse_gaps(chosen, base)
    parameters = patch_set.parameters
    if parameters.tdp:
        raise InvalidParameter(
            f"tdp: base {base.id} is the shadow MMU; two-dimensional paging is for a kernel of "
            "your own (kernel:NAME,tdp=1)"
        )
    golden_name = _names_of(GOLDEN).get(_knob_key(knobs))
    return Variant(
        base=base.id,
        patches=tuple(patch.id for patch in chosen),
        parameters=parameters,
        knobs=knobs,
        digest=_digest(knobs, parameters),
        name=" ".join((base.id, *(f"+{patch.id}" for patch in chosen), *parameters.to_words())),
        short_name=_short_name(base, chosen, knobs, parameters),
        golden_name=golden_name,
    )


def _without_patches(base: Base, chosen: Sequence[Patch], parameters: Parameters) -> Variant:
    """The one machine of an engine that has no patches and no parameters."""
    if chosen:
        raise WrongBase(
            f"patch {chosen[0].id} changes KVM, and base {base.id} is not KVM; take it out"
        )
    if words := parameters.to_words():
        raise InvalidParameter(f"{words[0]} has no meaning on base {base.id}, which is not KVM")
    body = {"engine": base.engine, "base": base.id}
    digest = hashlib.sha256(msgpack.packb(body, use_bin_type=True)).hexdigest()
    return Variant(
        base=base.id,
        patches=(),
        parameters=parameters,
        knobs={},
        digest=digest,
        name=base.id,
        short_name=base.id,
        golden_name=None,
        engine=base.engine,
    )


def prefixes(patch_set: PatchSet) -> tuple[PatchSet, ...]:
    """The cumulative patch sets of a series: the base, its first patch, its first two, and so on.

    ``prefixes(s)[n]`` has n patches, so there is one more than the series has patches.
    """
    return tuple(
        dataclasses.replace(patch_set, patches=patch_set.patches[:count])
        for count in range(len(patch_set.patches) + 1)
    )


def prefix_label(prefix: PatchSet) -> str:
    """The label of a prefix of a series: ``base``, ``1``, ``1-2`` and so on.

    On a kernel it has its name, and its parameters: ``mine``, ``mine+1``, ``mine+1..2 tdp=1``.
    """
    if is_kernel(prefix.base):
        name = kernel_label(prefix.base.removeprefix(KERNEL), list(map(int, prefix.patches)))
        return " ".join((name, *prefix.parameters.to_words()))
    count = len(prefix.patches)
    if count == 0:
        return "base"
    return "1" if count == 1 else f"1-{count}"


def variant_from_golden_name(name: str, parameters: Parameters | None = None) -> Variant:
    """The variant with this name in the golden results; raises UnknownPatch."""
    if name not in GOLDEN:
        raise UnknownPatch(
            f"{name!r} is not a golden variant{nearest(name, GOLDEN)}; "
            f"there are {', '.join(GOLDEN)}"
        )
    chosen = GOLDEN[name]
    return resolve(
        chosen if parameters is None else dataclasses.replace(chosen, parameters=parameters)
    )


def golden_names(patch: Patch) -> tuple[str, ...]:
    """The names in the golden data that contain this patch, or are the same machine.

    These are the golden patch sets that list it, and the machines it makes on each base with the
    patches it requires, also after zap-account, on which the golden p3, p4 and p6 are based.
    """
    found = {name for name, patch_set in GOLDEN.items() if patch.id in patch_set.patches}
    for base in BASES:
        for front in ((), ("zap-account",)):
            try:
                variant = resolve(PatchSet(base.id, (*front, *_with_required(patch))))
            except CatalogueError:
                continue
            if patch.knobs and variant.golden_name is not None:
                found.add(variant.golden_name)
    return tuple(name for name in GOLDEN if name in found)


def patch_document(patch: Patch) -> dict[str, Any]:
    """The patch as JSON, with its golden names; without any, there is no real-code result."""
    return patch.to_dict() | {"golden_names": list(golden_names(patch))}


def _with_required(patch: Patch) -> tuple[str, ...]:
    before = [_with_required(get_patch(wanted)) for wanted in patch.requires]
    return (*(patch_id for ids in before for patch_id in ids), patch.id)


def _refuse_duplicates(chosen: Sequence[Patch]) -> None:
    seen: set[str] = set()
    for patch in chosen:
        if patch.id in seen:
            raise ContradictingPatches(f"patch {patch.id} is in the set twice; take one out")
        seen.add(patch.id)


def _refuse_base(chosen: Sequence[Patch], base: Base) -> None:
    for patch in chosen:
        if base.id in patch.merged_in:
            raise WrongBase(
                f"patch {patch.id} is in base {base.id} already, {patch.merged_in[base.id]}; "
                "take it out"
            )
        if base.id in patch.not_on:
            raise WrongBase(
                f"patch {patch.id} makes no sense on base {base.id}: {patch.not_on[base.id]}"
            )


def _setters(chosen: Sequence[Patch], base: Base) -> dict[str, Patch]:
    """Who sets each knob. Patches that only need one left as it is do not contradict each other."""
    setters: dict[str, Patch] = {}
    for patch in chosen:
        for knob, value in patch.knobs.items():
            before = setters[knob].knobs[knob] if knob in setters else None
            if before is not None and {before, value} != {base.knobs[knob]}:
                raise ContradictingPatches(
                    f"patches {setters[knob].id} and {patch.id} both set {knob}; keep one of them"
                )
            setters[knob] = patch
    return setters


def _refuse_gaps(chosen: Sequence[Patch], base: Base) -> None:
    later = {patch.id for patch in chosen}
    present = {patch.id for patch in PATCHES if base.id in patch.merged_in}
    for patch in chosen:
        for wanted in patch.requires:
            if wanted in present:
                continue
            remedy = (
                f"move {wanted} before it"
                if wanted in later
                else f"put {wanted} before it{_other_forms(wanted)}"
            )
            raise MissingRequirement(f"patch {patch.id} sits on {wanted}; {remedy}")
        present.add(patch.id)
        if patch.form_of is not None:
            present.add(patch.form_of)


def _other_forms(patch_id: str) -> str:
    forms = [patch.id for patch in PATCHES if patch.form_of == patch_id]
    return f" (or {' or '.join(forms)})" if forms else ""


@functools.cache
def _names_of_all() -> dict[str, tuple[int, ...]]:
    keys = {}
    for name, patch_set in NAMED.items():
        knobs = dict(_BASES[patch_set.base].knobs)
        for patch_id in patch_set.patches:
            knobs |= _PATCHES[patch_id].knobs
        keys[name] = _knob_key(knobs)
    return keys


def _names_of(named: Iterable[str]) -> dict[tuple[int, ...], str]:
    """The machines of these names; of two names for one machine, the first."""
    keys = _names_of_all()
    return {keys[name]: name for name in reversed(list(named))}


def _knob_key(knobs: dict[str, int]) -> tuple[int, ...]:
    return tuple(knobs[knob.name] for knob in KNOBS)


def _digest(knobs: dict[str, int], parameters: Parameters) -> str:
    limit = parameters.page_limit
    named: dict[str, Any] = {
        "bypass": parameters.bypass,
        "host_page_level": parameters.host_page_level,
        "page_limit": (
            [limit.first, limit.then, limit.every] if isinstance(limit, Schedule) else limit
        ),
    }
    # Only if there is one: results from before there were TLBs keep their variant.
    if parameters.tlb:
        named["tlb"] = parameters.tlb
    # Nor a knob at 0, so that a new knob, 0 for the behaviour before it, renames no variant.
    set_knobs = {name: value for name, value in sorted(knobs.items()) if value}
    body = {"knobs": set_knobs, "parameters": named}
    return hashlib.sha256(msgpack.packb(body, use_bin_type=True)).hexdigest()


def _short_name(
    base: Base, chosen: Sequence[Patch], knobs: dict[str, int], parameters: Parameters
) -> str:
    names = _names_of(NAMED)
    code = names.get(_knob_key(knobs))
    if code is None:
        words = [patch.short for patch in chosen if patch.knobs]
        if base is not BASES[0]:
            words.insert(0, names[_knob_key(dict(base.knobs))])
        code = "+".join(words)
    return " ".join((code, *parameters.to_words()))
