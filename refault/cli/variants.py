"""The variants a command is given by ``-v``, each with the label of its column."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from refault.catalogue import (
    SEED_SERIES,
    Parameters,
    PatchSet,
    is_kernel,
    patch_set_from_text,
    patch_set_to_text,
    prefix_label,
    prefixes,
    resolve,
)
from refault.errors import InvalidParameter

if TYPE_CHECKING:
    from refault.catalogue import Variant

VARIANT_HELP = (
    "A golden name (base, p2, p3, p4, p6, series, …) or patch ids joined by +, then "
    "parameters after commas. Default: every prefix of the series of 12 April 2010."
)


def labelled_variants(
    texts: list[str], *, page_limit: str | None = None, bypass: int | None = None
) -> list[tuple[str, Variant]]:
    """Each variant with its column's label; the options' parameters hold for all of them."""
    sets = _labelled_sets(texts, page_limit, bypass)
    return [(label, _resolved(patch_set)) for label, patch_set in sets]


def variant_texts(
    texts: list[str], *, page_limit: str | None = None, bypass: int | None = None
) -> list[str]:
    """The same variants as ``-v`` takes them, with the options' parameters."""
    sets = _labelled_sets(texts, page_limit, bypass)
    return [patch_set_to_text(patch_set) for _, patch_set in sets]


def _labelled_sets(
    texts: list[str], page_limit: str | None, bypass: int | None
) -> list[tuple[str, PatchSet]]:
    if texts:
        labelled = [(text, patch_set_from_text(text)) for text in texts]
    else:
        series = prefixes(PatchSet(patches=SEED_SERIES))
        labelled = [(prefix_label(each), each) for each in series]
    common: dict[str, object] = {}
    if page_limit is not None:
        asked = patch_set_from_text(f"base,page-limit={page_limit}")
        common["page_limit"] = asked.parameters.page_limit
    if bypass is not None:
        common["bypass"] = Parameters.from_dict({"bypass": bypass}).bypass
    for label, patch_set in labelled:
        given = [name for name in common if getattr(patch_set.parameters, name) is not None]
        if given:
            name = given[0].replace("_", "-")
            raise InvalidParameter(f"--{name} is also set by variant {label!r}; keep one of them")
    return [(label, _with(patch_set, common)) for label, patch_set in labelled]


def _resolved(patch_set: PatchSet) -> Variant:
    if is_kernel(patch_set.base):
        from refault.linux.variants import resolve_kernel

        return resolve_kernel(patch_set)
    return resolve(patch_set)


def _with(patch_set: PatchSet, common: dict[str, object]) -> PatchSet:
    parameters = dataclasses.replace(patch_set.parameters, **common)  # type: ignore[arg-type]
    return dataclasses.replace(patch_set, parameters=parameters)
