"""One step of a cause in words: what an operation changed of a watched word."""

from __future__ import annotations

from refault.audits import Step
from refault.engines.audit import watching
from refault.engines.audit import words as au
from refault.engines.audit.tell import REGISTERS, operation_text, spte_text
from refault.engines.shadow.state import words as model
from refault.replay import x86

_WORD = (1 << 64) - 1
_COUNTERS = {
    model.LPAGES: "lpages",
    model.UNSYNC_PAGES: "mmu_unsync",
    model.N_FREE: "n_free",
    model.ACTIVE: "active",
}


def step_of(array: int, word: int, change: list[int]) -> Step:
    """One change of a watched word."""
    place = word & ((1 << au.WATCH_SHIFT) - 1)
    done = operation_text(*change[watching.KIND : watching.B + 1])
    text = _change_text(array, place, change)
    return Step(change[watching.TIME] - 1, change[watching.EVENT], f"{done}: {text}")


def _change_text(array: int, place: int, change: list[int]) -> str:
    old, new, gfn = change[watching.OLD], change[watching.NEW], change[watching.GFN]
    if array in (au.WATCH_SPT, au.WATCH_USE):
        what = "leaf" if change[watching.LEVEL] == 1 or (old | new) & x86.LARGE else "link"
        where = f"the {what} {place & 511} of table {gfn:#x}"
        if array == au.WATCH_USE and old ^ new == x86.ACCESSED:
            return f"{where}: A {'set' if new & x86.ACCESSED else 'cleared'}"
        return f"{where} was {_entry(old, what)}, is {_entry(new, what)}"
    if array == au.WATCH_GUEST:
        return f"the guest's entry at {place:#x} was {old & _WORD:#x}, is {new & _WORD:#x}"
    if array == au.WATCH_LOG:
        return _log_text(place, old, new)
    if array == au.WATCH_PAGE:
        return _page_text(place & (model.PAGE_WORDS - 1), gfn, old, new)
    if array == au.WATCH_VM and place in _COUNTERS:
        return f"{_COUNTERS[place]} was {old}, is {new}"
    if array == au.WATCH_VM:
        return f"{_register(place)} was {old & _WORD:#x}, is {new & _WORD:#x}"
    if place & 1 == model.WRITE_COUNT:
        return f"the tables in the large region were {old}, are {new}"
    return "the list of the frame's leaves changed"


def _log_text(gfn: int, old: int, new: int) -> str:
    """What happened to a frame in its dirty log (watching.log_bits)."""
    frame = f"frame {gfn:#x}"
    if not new & 4:
        return f"{frame} is not logged any more"
    told = []
    if not old & 4:
        told.append("is logged from here on")
    if old & 3 and not new & 3:
        told.append("is told, or forgotten: its log begins anew")
    elif old & 1 > new & 1:
        told.append("is taken out of its log")
    if new & 2 > old & 2:
        told.append("is written" if new & 1 else "is written, and its log does not note it")
    if new & 1 > old & 1:
        told.append("enters its log")
    return f"{frame} {', '.join(told) or 'is told of'}"


def _register(place: int) -> str:
    """The register of a vCPU at that place."""
    at = (place - model.CPUS) % model.CPU_WORDS
    names = dict(zip((model.CR0, model.CR3, model.CR4, model.EFER), REGISTERS[:4], strict=True))
    return names.get(at, "the register")


def _entry(spte: int, what: str) -> str:
    if what == "link":
        if not spte & x86.PRESENT:
            return "absent"
        return "a link" if spte & x86.WRITABLE else "a link without W"
    return spte_text(spte)


def _page_text(word: int, gfn: int, old: int, new: int) -> str:
    if word == model.UNSYNC:
        return f"table {gfn:#x} {'went out of' if new else 'came back in'} sync"
    if word >= model.BITMAP:
        changed = (old ^ new) & x86.U32
        index = (word - model.BITMAP) * 32
        told = [str(index + bit) for bit in range(32) if changed >> bit & 1]
        how = "set" if new & changed else "cleared"
        return f"table {gfn:#x}: mark of entry {', '.join(told)} {how}"
    names = {model.ROOT_COUNT: "root_count", model.ROLE: "role", model.PARENTS: "parents"}
    names[model.EPOCH] = "epoch"
    return f"table {gfn:#x}: {names.get(word, 'unsync_children')} was {old}, is {new}"
