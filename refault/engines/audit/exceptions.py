"""What the specification knows of a finding: its expected failures, and defects it describes.

``F-X1`` to ``F-X6`` are the list at the end of part F, "Known violations in the baseline". Any
other name is that of the section that describes the defect: ``B1`` (the order in which a walk
checks), ``B4`` (the frame of a direct page), ``B8`` (what a sync does not look at), ``B15``
(control registers), ``B16`` (notifiers), ``D2`` (the page budget).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from refault.catalogue import values
from refault.engines.audit import translation as by
from refault.engines.audit import words as au
from refault.engines.audit.evidence import UNEXPLAINED
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import x86

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: In the place of a page, once an out-of-sync page was found without marks.
LOST = -1 << 60
#: The same, once a link to a table lost W.
LINK = LOST - 1
#: The same, once a vCPU may have written with CR0.WP clear.
FORCED = LOST - 2

#: Writes that change what an entry means.
_FORMAT_WRITES = frozenset({op.SET_CR0, op.SET_CR4, op.SET_EFER})

_LEAVES = frozenset({au.T1, au.T2, au.T3, au.T4, au.U5})


def leaves_known(
    rows: Sequence[Sequence[int]], knobs: Mapping[str, int], *, may_force: bool
) -> dict[int, str]:
    """What is known of wrong leaves, by page: an access that comes out wrong there has that reason.

    Under ``LOST`` there is something if an out-of-sync page was found without marks, under ``LINK``
    if a link was found without W, under ``FORCED`` where ``may_force``: a vCPU had CR0.WP clear.
    """
    seen: dict[int, str] = {}
    if may_force:
        seen[FORCED] = "CR0.WP was clear"
    if any(row[au.CHECK] in (au.U1, au.U4) for row in rows):
        seen[LOST] = "marks were lost"
    if any(row[au.CHECK] == au.S8 for row in rows):
        seen[LINK] = "a link lost W"
    for row in rows:
        if row[au.CHECK] == au.D2 and row[au.DETAIL]:
            seen[_log_of(row)] = "F-X1"
        known = _known_leaf(row, knobs, seen) if row[au.CHECK] in _LEAVES else None
        if known:
            seen.setdefault(row[au.PLACE] >> x86.PAGE_SHIFT, known)
    return seen


def exception_of(
    row: Sequence[int], knobs: Mapping[str, int], seen: Mapping[int, str]
) -> str | None:
    """The name under which the specification knows the defect, or None.

    ``seen`` is what :func:`leaves_known` answers for all findings of the run.
    """
    check = row[au.CHECK]
    page = row[au.PLACE] >> x86.PAGE_SHIFT
    if check in (au.D1, au.D2):
        # A write that only CR0.WP=0 allows is in no log, with whichever base.
        return "F-X1" if row[au.DETAIL] else seen.get(_log_of(row))
    if check == au.H2:
        # A sync forgets A; that the host cleared it, or left a TLB entry with it, is no sync's.
        is_of_sync = row[au.VCPU] < 0 and not row[au.IS]
        return "B8" if is_of_sync else None
    if check == au.T7:
        return "F-X6" if LINK in seen else None
    if check == au.H1 and row[au.VCPU] < 0:
        return _known_unmap(row, knobs)
    if check == au.T5:
        return seen.get(page) or _known_outcome(row, knobs, seen)
    if check == au.T6:
        return seen.get(page, "F-X4")
    if check in _LEAVES:
        return _known_leaf(row, knobs, seen)
    if row[au.VCPU] >= 0 and check in (au.W1, au.H1, au.T6B):
        return "F-X4"
    return _KNOWN.get(check)


def _log_of(row: Sequence[int]) -> int:
    """The place of a frame's log among those of pages."""
    return -1 - (row[au.SHOULD] if row[au.VCPU] >= 0 else row[au.PLACE])


#: Of checks whose every failure in a base is one the specification describes.
_KNOWN = {
    au.C1: "F-X6",
    au.S8: "F-X6",
    au.P4: "F-X6",
    au.P3: "F-X6",
    au.S3: "D2",
    au.H3: "D2",
    au.P1: "B15",
}


def _known_unmap(row: Sequence[int], knobs: Mapping[str, int]) -> str | None:
    """A large leaf that a notifier looked for by the offset in its slot, and did not find."""
    by_offset = knobs["notifier_index"] != values.NOTIFIER_INDEX_FRAME
    is_notifier = row[au.OP_KIND] in (op.UNMAP, op.CHANGE_PTE)
    return "B16" if by_offset and is_notifier else None


def _known_leaf(
    row: Sequence[int], knobs: Mapping[str, int], seen: Mapping[int, str]
) -> str | None:
    how = row[au.DETAIL]
    if how & UNEXPLAINED:
        return None
    if how & by.OLDER:
        return "F-X5"
    if how & by.BELOW_LARGE:
        if how & by.ELSEWHERE:
            return "B4"
        return "F-X2" if knobs["direct_access"] != values.DIRECT_ACCESS_OWN else None
    if how & by.ABOVE and not how & by.BEYOND_ROLE:
        return "F-X3"
    if how & (by.RESERVED | by.FETCHES):
        # What a sync does not look at; a register that changes what is reserved is not that.
        return None if row[au.OP_KIND] in _FORMAT_WRITES else "B8"
    if how & (by.WRITES | by.USER):
        return _forced(knobs, seen)
    return None


def _forced(knobs: Mapping[str, int], seen: Mapping[int, str]) -> str | None:
    """A leaf that CR0.WP=0 let be written; where marks were lost it may be an old one instead."""
    is_forced = knobs["forced_write"] == values.FORCED_WRITE_FOR_ALL and FORCED in seen
    return "F-X1" if is_forced and LOST not in seen else None


def _known_outcome(
    row: Sequence[int], knobs: Mapping[str, int], seen: Mapping[int, str]
) -> str | None:
    """An outcome without a wrong leaf: the order of the walk's checks, the F bit, loose masks."""
    code, got, want = row[au.DETAIL] >> 16, row[au.IS], row[au.SHOULD]
    is_loose = knobs["reserved_bits"] == values.RESERVED_BITS_LOOSE
    if want >= 0:
        is_fault = code in (out.PF, out.PF_DIRECT)
        return "B1" if is_loose and is_fault and got & x86.PF_RSVD else None
    wanted = -1 - want
    if code in (out.PF, out.PF_DIRECT):
        is_f_bit = got ^ wanted == x86.PF_FETCH
        is_order = (got ^ wanted) & ~x86.PF_RSVD == x86.PF_PRESENT or got ^ wanted == x86.PF_RSVD
        return "B1" if is_f_bit or is_order else None
    stores = row[au.DETAIL] & 0xFF >= op.ST
    if stores and wanted & ~x86.PF_USER == x86.PF_PRESENT | x86.PF_WRITE:
        return _forced(knobs, seen)
    return "B1" if is_loose and wanted & x86.PF_RSVD else None
