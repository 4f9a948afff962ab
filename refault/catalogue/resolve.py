"""From a patch set to the machine it makes: :func:`resolve`, and the patch sets of a series."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgpack

from refault.catalogue.bases import BASES
from refault.catalogue.entries import PATCHES
from refault.catalogue.knobs import KNOBS
from refault.catalogue.model import Base, Parameters, Patch, PatchSet, Schedule, Variant
from refault.errors import (
    ContradictingPatches,
    MissingRequirement,
    UnknownBase,
    UnknownPatch,
)

#: The six patches of 12 April 2010, in the order they were posted.
SEED_SERIES = (
    "unsync-walk-struct",
    "zap-account",
    "parent-stop-bit",
    "cr4-posted",
    "sp-flags-word",
    "unsync-list-global",
)

_FORMS: dict[str, tuple[str, ...]] = {
    "p2": ("zap-account",),
    "p2alt": ("zap-restart",),
    "p3": ("zap-account", "parent-stop-bit"),
    "p3count": ("zap-account", "parent-stop-count"),
    "p3fix": ("zap-account", "parent-stop-count", "unsync-clear-exact"),
    "p4": ("zap-account", "cr4-posted"),
    "p4r": ("zap-account", "cr4-store-norole"),
    "p6": ("zap-account", "unsync-list-global"),
    "series": SEED_SERIES,
}
_APRIL_FORMS: dict[str, tuple[str, ...]] = {
    **_FORMS,
    "p2goto_nolist": ("zap-restart-posted",),
    "p2merged": ("zap-merged",),
    "p3full": ("zap-account", "parent-stop-count", "unsync-clear-exact"),
}

#: What the golden results call a configuration, and the patch set that makes it.
GOLDEN: dict[str, PatchSet] = {
    "base": PatchSet("v2.6.34-pre"),
    "rel34": PatchSet("v2.6.34-pre", ("zap-merged",)),
    **{name: PatchSet("v2.6.34-pre", ids) for name, ids in _FORMS.items()},
    "apr": PatchSet("kvm-2010-04"),
    **{f"apr_{name}": PatchSet("kvm-2010-04", ids) for name, ids in _APRIL_FORMS.items()},
    "rel35": PatchSet("v2.6.35.6"),
}

_PATCHES = {patch.id: patch for patch in PATCHES}
_BASES = {base.id: base for base in BASES}


def patches() -> tuple[Patch, ...]:
    """Every patch of the catalogue: the seed series in order, each followed by its other forms."""
    order = {patch_id: place for place, patch_id in enumerate(SEED_SERIES)}
    for patch in PATCHES:
        if patch.id not in order:
            origin = patch.form_of or patch.requires[0]
            order[patch.id] = order[origin]
    return tuple(sorted(PATCHES, key=lambda patch: order[patch.id]))


def bases() -> tuple[Base, ...]:
    """Every base of the catalogue."""
    return BASES


def get_patch(patch_id: str) -> Patch:
    """The patch of that id; raises UnknownPatch."""
    try:
        return _PATCHES[patch_id]
    except KeyError:
        raise UnknownPatch(
            f"patch {patch_id!r} is not in the catalogue{_nearest(patch_id, _PATCHES)}; "
            f"there are {', '.join(patch.id for patch in patches())}"
        ) from None


def get_base(base_id: str) -> Base:
    """The base of that id; raises UnknownBase."""
    try:
        return _BASES[base_id]
    except KeyError:
        raise UnknownBase(
            f"base {base_id!r} is not in the catalogue{_nearest(base_id, _BASES)}; "
            f"there is {', '.join(_BASES)}"
        ) from None


def resolve(patch_set: PatchSet) -> Variant:
    """The machine a patch set makes.

    Raises:
        UnknownBase, UnknownPatch: naming what is not in the catalogue.
        ContradictingPatches: one patch twice, or two that set one knob (also to the same value:
            two forms of one change cannot both be applied).
        MissingRequirement: a patch without the one it sits on before it.
    """
    base = get_base(patch_set.base)
    chosen = [get_patch(patch_id) for patch_id in patch_set.patches]
    _refuse_duplicates(chosen)
    knobs = dict(base.knobs)
    for knob, patch in _setters(chosen).items():
        knobs[knob] = patch.knobs[knob]
    _refuse_gaps(chosen)
    parameters = patch_set.parameters
    golden_name = _golden_names().get(_knob_key(knobs))
    return Variant(
        base=base.id,
        patches=tuple(patch.id for patch in chosen),
        parameters=parameters,
        knobs=knobs,
        digest=_digest(knobs, parameters),
        name=" ".join((base.id, *(f"+{patch.id}" for patch in chosen), *parameters.to_words())),
        short_name=_short_name(chosen, golden_name, parameters),
        golden_name=golden_name,
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
    """What a table calls a prefix of a series: ``base``, ``1``, ``1-2`` and so on."""
    count = len(prefix.patches)
    if count == 0:
        return "base"
    return "1" if count == 1 else f"1-{count}"


def variant_from_golden_name(name: str, parameters: Parameters | None = None) -> Variant:
    """The variant the golden results call ``name``; raises UnknownPatch."""
    if name not in GOLDEN:
        raise UnknownPatch(
            f"{name!r} is no golden variant{_nearest(name, GOLDEN)}; there are {', '.join(GOLDEN)}"
        )
    chosen = GOLDEN[name]
    return resolve(
        chosen if parameters is None else dataclasses.replace(chosen, parameters=parameters)
    )


def _refuse_duplicates(chosen: Sequence[Patch]) -> None:
    seen: set[str] = set()
    for patch in chosen:
        if patch.id in seen:
            raise ContradictingPatches(f"patch {patch.id} stands in the set twice; take one out")
        seen.add(patch.id)


def _setters(chosen: Sequence[Patch]) -> dict[str, Patch]:
    setters: dict[str, Patch] = {}
    for patch in chosen:
        for knob in patch.knobs:
            if knob in setters:
                raise ContradictingPatches(
                    f"patches {setters[knob].id} and {patch.id} both set {knob}; keep one of them"
                )
            setters[knob] = patch
    return setters


def _refuse_gaps(chosen: Sequence[Patch]) -> None:
    later = {patch.id for patch in chosen}
    present: set[str] = set()
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


def _golden_names() -> dict[tuple[int, ...], str]:
    names: dict[tuple[int, ...], str] = {}
    for name, patch_set in GOLDEN.items():
        knobs = dict(_BASES[patch_set.base].knobs)
        for patch_id in patch_set.patches:
            knobs |= _PATCHES[patch_id].knobs
        names.setdefault(_knob_key(knobs), name)
    return names


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
    # Named only where there is one: results from before there were TLBs keep their variant.
    if parameters.tlb:
        named["tlb"] = parameters.tlb
    body = {"knobs": dict(sorted(knobs.items())), "parameters": named}
    return hashlib.sha256(msgpack.packb(body, use_bin_type=True)).hexdigest()


def _short_name(chosen: Sequence[Patch], golden_name: str | None, parameters: Parameters) -> str:
    code = golden_name or "+".join(patch.short for patch in chosen if patch.knobs)
    return " ".join((code, *parameters.to_words()))


def _nearest(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(words), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
