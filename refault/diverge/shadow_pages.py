"""The shadow pages of the model's hosts: as rows to be compared, and a page in KVM's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from refault.catalogue import values
from refault.engines.shadow.state import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.catalogue import Variant
    from refault.engines.base import Host

#: The words of a page that are compared, in the order of :func:`page_rows`.
COLUMNS = (words.GFN, words.ROLE, words.UNSYNC, words.UNSYNC_CHILDREN, words.ROOT_COUNT)
_ACCESS = ("---", "--x", "w--", "w-x", "-u-", "-ux", "wu-", "wux")
_MIX = 0x9E37_79B9_7F4A_7C15
_WORD = (1 << 64) - 1


def role_mask(variants: Sequence[Variant]) -> int:
    """The bits of a role that all variants keep in the same meaning."""
    mask = -1
    knobs = [variant.knobs for variant in variants]
    if len({each["role_layout"] for each in knobs}) > 1:
        mask &= ~(words.ROLE_FORMAT_MASK | words.ROLE_CR0_WP)
    if len({each["role_cr4_pge"] for each in knobs}) > 1:
        mask &= ~words.ROLE_PGE
    return mask


def pages_of(host: Host) -> Any:
    """The headers of the pages of a host of the model."""
    return host.machine.page  # type: ignore[attr-defined]


def page_rows(pages: Any, variants: Sequence[Variant]) -> Any:
    """One row for each page in use, in no order: gfn, role, unsync, unsync children, root count.

    Of the role, only the bits that all ``variants`` keep.
    """
    headers = np.asarray(pages, np.int64).reshape(-1, words.PAGE_WORDS)
    # The handle 0 is none; a page on the free list is marked so.
    used = headers[1:][headers[1:, words.FREED] == 0]
    rows = used[:, COLUMNS]
    rows[:, 1] &= role_mask(variants)
    return rows


def rows_hash(rows: Any) -> int:
    """A number that depends on the rows, but not on their order."""
    state = np.full(len(rows), _MIX, np.uint64)
    for column in rows.T.astype(np.uint64):
        state ^= column
        state *= np.uint64(_MIX)
        state ^= state >> np.uint64(29)
    return (int(state.sum(dtype=np.uint64)) << 20) + len(rows)


class Notation(NamedTuple):
    """How pages are named: as the variants' own tracepoints do, or by what all of them keep.

    ``form`` is ``levels`` (2.6.34: ``1/4``), ``pae`` (2.6.35: ``1 pae``), or nothing.
    """

    form: str
    has_pge: bool


def notation_of(variants: Sequence[Variant]) -> Notation:
    """The notation for pages of all these variants."""
    layouts = {variant.knobs["role_layout"] for variant in variants}
    form = "pae" if layouts == {values.ROLE_LAYOUT_PAE} else "levels"
    in_roles = {variant.knobs["role_cr4_pge"] for variant in variants}
    has_pge = in_roles == {values.ROLE_CR4_PGE_PRESENT}
    return Notation(form if len(layouts) == 1 else "", has_pge)


def role_text(role: int, notation: Notation) -> str:
    """A role as kvm_mmu tracepoints print it: ``1/4 q0 wux !pge nxe``."""
    level = (role & words.ROLE_LEVEL_MASK) >> words.ROLE_LEVEL_SHIFT
    form = role & words.ROLE_FORMAT_MASK
    quadrant = (role & words.ROLE_QUADRANT_MASK) >> words.ROLE_QUADRANT_SHIFT
    told = [f"{level}/{form}" if notation.form == "levels" else f"{level}"]
    if notation.form == "pae" and form:
        told.append("pae")
    told.append(f"q{quadrant} direct" if role & words.ROLE_DIRECT else f"q{quadrant}")
    told.append(_ACCESS[role >> words.ROLE_ACCESS_SHIFT & words.ACC_ALL])
    if role & words.ROLE_INVALID:
        told.append("invalid")
    if notation.has_pge:
        told.append("pge" if role & words.ROLE_PGE else "!pge")
    told.append("nxe" if role & words.ROLE_NXE else "!nxe")
    return " ".join(told)


def page_text(gfn: int, role: int, root_count: int, unsync: int, notation: Notation) -> str:
    """A page as the event log names it: ``sp gfn 5 1/4 q0 wux !pge nxe root 0 sync``."""
    state = "unsync" if unsync else "sync"
    return f"sp gfn {gfn & _WORD:x} {role_text(role, notation)} root {root_count} {state}"
