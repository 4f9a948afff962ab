"""Guests in a few words, and what a planted bug is (tests/audit/planted.py)."""

from typing import NamedTuple

PAGING = 0x8001_0033  # CR0: PG, WP, PE and what a booted guest has
USER, WRITE, PS, NX = 4, 2, 0x80, 1 << 63
LEAF = 0x67  # present, writable, user, accessed, dirty
TABLE = 0x27


class Case(NamedTuple):
    """What to change in which function, the operations, and the checks that must say it."""

    commit: str
    function: object
    changes: tuple
    lines: list
    checks: tuple
    base: str = "base"


def begun(pokes, *, vcpus=1, level=1, frames=4096, cr4=0x20, efer=0x500, bypass=0):
    """A guest with these words in memory, booted with CR3 0x1000."""
    words = [["poke", at, value] for at, value in pokes.items()]
    boots = [["boot", vcpu, PAGING, 0x1000, cr4, efer] for vcpu in range(vcpus)]
    return [["vm", vcpus, bypass], ["mem", 0, 0, frames, level], *words, *boots]


#: PML4 1, PDPT 2, PD 3, PT 4.
LONG = {0x1000: 0x2000 | TABLE, 0x2000: 0x3000 | TABLE, 0x3000: 0x4000 | TABLE}
