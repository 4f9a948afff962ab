"""Why two variants differ, in sentences: who is right, where the wrong answer comes from, and why.

Everything said here follows from the two states that a report shows. Whether a stale translation
was still allowed, because the guest had not flushed it, is for an audit to say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from refault.catalogue import get_patch
from refault.diverge.measures import has_address
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import x86

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.catalogue import Variant
    from refault.diverge.around import Mmu
    from refault.diverge.diverging import Answer, Divergence
    from refault.diverge.guest_walk import GuestWalk
    from refault.diverge.marking import Marking
    from refault.diverge.position import Row
    from refault.diverge.shadow_walk import ShadowEntry

#: What a mail's subject has in front of the patch's own title.
_TAG = re.compile(r"^\[PATCH[^]]*\] ")
#: Patches that only one variant has which are told by their titles.
PATCHES_SHOWN = 8
_STORES = {op.ST, op.ST4, op.ST2, op.ST1}
_FAULT_PRESENT, _FAULT_WRITE, _FAULT_USER, _FAULT_RESERVED, _FAULT_FETCH = 1, 2, 4, 8, 16


def only_in(mine: Variant, yours: Variant) -> tuple[tuple[str, str], ...]:
    """The patches that ``mine`` has and ``yours`` lacks: id and title."""
    return tuple(
        (name, _TAG.sub("", get_patch(name).title))
        for name in mine.patches
        if name not in yours.patches
    )


def sentences(divergence: Divergence, cr0: int | None) -> tuple[str, ...]:
    """The reasons, in the order in which a reader needs them; none where nothing can be said.

    ``cr0`` is that of the vCPU, None where no host shows it.
    """
    row = divergence.operation
    sides = (divergence.before.first, divergence.before.second)
    walk = next((side.guest for side in sides if side.guest is not None), None)
    if walk is None or not has_address(row.kind) or row.kind == op.INVLPG or divergence.is_end:
        return ()
    answers = (divergence.first, divergence.second)
    if "outside memory" in walk.ends or any(map(_is_reserved, answers)):
        return ()
    expected = _expected(walk, row, cr0)
    right = [_agrees(answer, expected) for answer in answers]
    told = [_judged(walk, row, expected, right)]
    if right[0] != right[1]:
        wrong = right.index(False)
        side, mmu = "AB"[wrong], sides[wrong]
        told += _source(side, mmu, answers[wrong])
        told += lost_mark(side, mmu.walk)
    marking = None if divergence.origin is None else divergence.origin.marking
    if marking is not None and divergence.origin is not None:
        told += _where_lost(marking, divergence.origin.operation_index)
    return tuple(told)


# --- who is right -----------------------------------------------------------------------------


def _expected(walk: GuestWalk, row: Row, cr0: int | None) -> tuple[int, int]:
    """What the guest's tables allow: an outcome, and the address or the error code."""
    asks = _FAULT_WRITE * (row.kind in _STORES) | _FAULT_USER * bool(row.user)
    fetch = _FAULT_FETCH if row.kind == op.EX else 0
    if walk.gpa is None:
        return out.PF, asks
    rights = [entry.value for entry in walk.entries]
    is_writable = all(value & x86.WRITABLE for value in rights)
    protects = cr0 is None or bool(cr0 & x86.CR0_WP)
    refused = (
        (asks & _FAULT_USER and not all(value & x86.USER for value in rights))
        or (asks & _FAULT_WRITE and not is_writable and (asks & _FAULT_USER or protects))
        or (fetch and any(value & x86.NX for value in rights))
    )
    return (out.PF, asks | _FAULT_PRESENT) if refused else (out.OK, int(walk.gpa))


def _is_reserved(answer: Answer) -> bool:
    """A fault for a reserved bit, which a walk does not show."""
    is_fault = answer.code in (out.PF, out.PF_DIRECT)
    return is_fault and bool(int(answer.address) & _FAULT_RESERVED)


def _agrees(answer: Answer, expected: tuple[int, int]) -> bool:
    """Whether an answer is what the guest's tables say; of a fault without its fetch bit."""
    code = out.PF if answer.code == out.PF_DIRECT else answer.code
    if code == out.MMIO:
        return expected[0] == out.OK
    if code != expected[0]:
        return False
    if code == out.PF:
        return int(answer.address) & ~_FAULT_FETCH == expected[1]
    return int(answer.address) == expected[1]


def _judged(walk: GuestWalk, row: Row, expected: tuple[int, int], right: Sequence[bool]) -> str:
    what = f"{row.a & ((1 << 64) - 1):#x}"
    if expected[0] == out.OK:
        says = f"the guest's tables map {what} to {expected[1]:#x} and allow the access"
    elif walk.gpa is None:
        says = f"the guest's tables map nothing at {what} ({walk.ends}), so it must fault"
    else:
        says = f"the guest's tables map {what}, but do not allow this access, so it must fault"
    if right[0] == right[1]:
        both = "Both agree with that: they differ in the value, or in how they got there"
        neither = "Neither agrees with that"
        return f"At this moment {says}. {both if right[0] else neither}."
    good, bad = ("A", "B") if right[0] else ("B", "A")
    return f"At this moment {says}: {good} is right, {bad} is wrong."


# --- where the wrong answer comes from ----------------------------------------------------------


def _source(side: str, mmu: Mmu, answer: Answer) -> list[str]:
    """The entry that gave the wrong answer."""
    if not mmu.walk or answer.code != out.OK:
        return []
    last = mmu.walk[-1]
    if last.kind != "leaf":
        return []
    page = _short(last)
    if last.unsync:
        told = (
            f"{side} takes the address from entry {last.index} of {page}. That page is out of "
            "sync: the guest may write the table it shadows without a trap, and KVM copies what "
            "changed at the guest's next flush. This entry was not copied again."
        )
    elif " direct " in last.page:
        told = (
            f"{side} takes the address from entry {last.index} of {page}, which was made for a "
            "large page of the guest: its entries should grant what the guest's entry grants, "
            "and this one does not."
        )
    else:
        told = (
            f"{side} takes the address from entry {last.index} of {page}, which counts as in "
            "sync: its entries should be what the guest's table says, and this one is not."
        )
    return [told]


def lost_mark(side: str, walk: Sequence[ShadowEntry]) -> list[str]:
    """Why no sync finds the page out of sync at the end of a walk, if none does."""
    if not walk or not walk[-1].unsync:
        return []
    above = walk[:-1]
    unmarked = [entry for entry in above if not entry.marked]
    if not above:
        return []
    if not unmarked:
        return [
            f"Every link from {side}'s root down to it is marked, so the next sync finds the page."
        ]
    top = unmarked[0]
    marked = [entry for entry in above if entry.marked]
    rest = ""
    if marked:
        rest = f", although {_levels(marked)} below it {'are' if len(marked) > 1 else 'is'}"
    told = (
        "A sync begins at the root and goes down marked links only. In "
        f"{side}, entry {top.index} of {_short(top)} is not marked{rest}: no sync finds the page, "
        "and the guest goes on using translations that it has changed and flushed."
    )
    return [told]


def _where_lost(marking: Marking, operation: int) -> list[str]:
    """What the operation did since which the pages differ."""
    lost = marking.lost
    if lost is None:
        return []
    side, link, stop = lost
    other = "B" if side == "A" else "A"
    told = (
        f"The mark was lost at operation {operation}: it put {marking.page} out of sync, "
        f"and {other} marked every link above it. {side} "
    )
    if stop is not None:
        told += (
            f"met entry {stop.index} of {stop.page}, which was marked before, and stopped: it took "
            "that for a way that is marked up to the root. But that mark was a leftover; "
            f"above it, entry {link.index} of {link.page} was not marked, and stayed so."
        )
    else:
        told += f"left entry {link.index} of {link.page} unmarked."
    return [told]


def _short(entry: ShadowEntry) -> str:
    """A page by its frame and level."""
    return f"sp gfn {entry.gfn:x} (level {entry.level})"


def _levels(entries: Sequence[ShadowEntry]) -> str:
    told = [str(entry.level) for entry in entries]
    if len(told) == 1:
        return f"that of level {told[0]}"
    return f"those of levels {', '.join(told[:-1])} and {told[-1]}"
