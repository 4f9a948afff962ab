"""Patches and bases: what each changes, who proposed it and what became of it.

A patch set (:class:`PatchSet`) is a base and an ordered list of patches;
:func:`resolve` turns it into a :class:`Variant`, the complete configuration
that an engine runs. :func:`prefixes` gives the cumulative patch sets of a
series. Nothing here imports an engine.
"""

from __future__ import annotations

from refault.catalogue.bases import ARCHITECTURE
from refault.catalogue.knob import Knob
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
from refault.catalogue.named import GOLDEN, MERGED, NAMED, SEED_SERIES
from refault.catalogue.notation import (
    kernel_patches_by_number,
    patch_set_from_text,
    patch_set_to_text,
)
from refault.catalogue.plans import (
    AXES,
    BUILD_PLANS,
    PLANS,
    AxisValue,
    Expansion,
    Make,
    NamedSet,
    Numbers,
    PlannedColumn,
    Refusal,
    builds_of,
    expand,
    left_out_of,
    patches_of_column,
)
from refault.catalogue.resolve import (
    bases,
    get_base,
    get_patch,
    golden_names,
    patch_document,
    patches,
    prefix_label,
    prefixes,
    resolve,
    variant_from_golden_name,
)

__all__ = [
    "ARCHITECTURE",
    "AXES",
    "BUILD_PLANS",
    "GOLDEN",
    "KERNEL",
    "KNOBS",
    "MERGED",
    "NAMED",
    "PLANS",
    "SEED_SERIES",
    "AxisValue",
    "Base",
    "Expansion",
    "Knob",
    "Make",
    "NamedSet",
    "Numbers",
    "Parameters",
    "Patch",
    "PatchSet",
    "PlannedColumn",
    "Refusal",
    "Schedule",
    "Variant",
    "bases",
    "builds_of",
    "expand",
    "get_base",
    "get_patch",
    "golden_names",
    "is_kernel",
    "kernel_label",
    "kernel_patches_by_number",
    "left_out_of",
    "patch_document",
    "patch_set_from_text",
    "patch_set_to_text",
    "patches",
    "patches_of_column",
    "prefix_label",
    "prefixes",
    "resolve",
    "variant_from_golden_name",
]
