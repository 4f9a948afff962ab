"""What a shrunk trace must still show: read from the words of ``--keep``.

::

    finding:KIND@VARIANT     the run has such a finding, or its audit fails such a check
    diverges:A,B             what guest and host see differs between two variants
    counter:NAME:A<B         a counter is smaller under A than under B
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

from refault.audits import CHECKS
from refault.catalogue import PatchSet, Variant, is_kernel
from refault.errors import InvalidParameter
from refault.results import GUEST_VISIBLE_KINDS

#: Findings that say the simulated kernel broke one of its own rules.
BROKEN_KINDS = (
    "use-after-free",
    "empty-list",
    "endless-zap",
    "endless-walk",
    "endless-loop",
    "large-as-table",
    "lost-dirty-page",
    "assertion",
)
FORMS = "finding:KIND@VARIANT, diverges:A,B or counter:NAME:A<B"

How = Literal["finding", "check", "diverges", "counter"]


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """One property of a trace under one or two variants.

    ``name`` is the kind of finding, the check, or the counter; empty of a divergence. ``labels``
    are the variants as they were written.
    """

    text: str
    how: How
    name: str
    labels: tuple[str, ...]
    variants: tuple[Variant, ...]

    @property
    def is_guest_visible(self) -> bool:
        """Whether the guest itself sees what is wrong."""
        return self.how == "diverges" or self.name in GUEST_VISIBLE_KINDS

    @property
    def reference(self) -> PatchSet | None:
        """The base of the variant of a finding, without patches; None if that is the variant.

        Of a kernel of one's own it is the tree as it is.
        """
        if self.how not in ("finding", "check"):
            return None
        patch_set = self.variants[0].patch_set
        if is_kernel(patch_set.base):
            tree, plus, _ = patch_set.base.partition("+")
            return dataclasses.replace(patch_set, base=tree) if plus else None
        if not patch_set.patches:
            return None
        return dataclasses.replace(patch_set, patches=())


def wanted_of(text: str, variant_of: Callable[[str], Variant]) -> Wanted:
    """The property a text names; ``variant_of`` resolves the words for a variant.

    Raises:
        InvalidParameter: it has none of the three forms, or names nothing that is known.
        CatalogueError: there is no such variant.
    """
    how, colon, rest = text.partition(":")
    if colon and how == "finding":
        return _finding(text, rest, variant_of)
    if colon and how == "diverges":
        labels = _two_variants(rest)
        if labels is not None:
            return _of_two(text, "diverges", "", labels, variant_of)
    if colon and how == "counter":
        name, _, pair = rest.partition(":")
        first, less, second = pair.partition("<")
        if name and less and first and second:
            return _of_two(text, "counter", name, (first, second), variant_of)
    raise InvalidParameter(f"--keep {text!r}: expected {FORMS}")


def _finding(text: str, rest: str, variant_of: Callable[[str], Variant]) -> Wanted:
    kind, _, label = rest.partition("@")
    if not kind or not label:
        raise InvalidParameter(
            f"--keep {text!r}: expected finding:KIND@VARIANT, such as finding:missed-fault@p3"
        )
    variant = variant_of(label)
    if kind in CHECKS:
        return Wanted(text, "check", kind, (label,), (variant,))
    # A kernel of one's own has findings of its own: warnings, signals, reports of a sanitizer.
    if kind in GUEST_VISIBLE_KINDS or kind in BROKEN_KINDS or is_kernel(variant.patch_set.base):
        return Wanted(text, "finding", kind, (label,), (variant,))
    known = ", ".join((*GUEST_VISIBLE_KINDS, *BROKEN_KINDS))
    raise InvalidParameter(
        f"--keep {text!r}: there is no finding {kind!r}; kinds are {known}, and the checks of an "
        "audit, F-S1 to F-D3 (refault explain F-U1)"
    )


def _two_variants(text: str) -> tuple[str, str] | None:
    """Two variants from words between commas; ``name=value`` belongs to the variant before it."""
    parts: list[str] = []
    for word in text.split(","):
        if "=" in word and parts:
            parts[-1] += f",{word}"
        else:
            parts.append(word)
    match parts:
        case [first, second] if first and second:
            return first, second
    return None


def _of_two(
    text: str,
    how: How,
    name: str,
    labels: tuple[str, str],
    variant_of: Callable[[str], Variant],
) -> Wanted:
    variants = (variant_of(labels[0]), variant_of(labels[1]))
    if variants[0].digest == variants[1].digest:
        raise InvalidParameter(
            f"--keep {text!r}: {labels[0]} and {labels[1]} are the same machine, which never differ"
        )
    return Wanted(text, how, name, labels, variants)
