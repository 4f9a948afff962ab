"""Whether the registers of a candidate are ones that a processor can have together.

A shrunk capture may lose a write of CR4 or EFER that others rest on. What is left then is a guest
that no processor runs, on which two sound machines may differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from refault.replay import operations as op
from refault.replay import x86

if TYPE_CHECKING:
    from refault.shrink.probes import Rows

_WRITES: Final = (op.BOOT, op.SREGS, op.SET_CR0, op.SET_CR4, op.SET_EFER)
_LOW: Final = 0xFFFF_FFFF


class Registers(NamedTuple):
    """CR0, CR4 and EFER of one vCPU."""

    cr0: int = 0
    cr4: int = 0
    efer: int = 0

    @property
    def can_be(self) -> bool:
        """Whether paging has protection, and long mode PAE (Intel SDM 4.1.1, 5.1)."""
        if not self.cr0 & x86.CR0_PG:
            return True
        has_pae = bool(self.cr4 & x86.CR4_PAE)
        return bool(self.cr0 & x86.CR0_PE) and (has_pae or not self.efer & x86.EFER_LME)

    def may_become(self, other: Registers) -> bool:
        """Whether one write may lead there: long mode is entered and left without paging."""
        is_paging = self.cr0 & other.cr0 & x86.CR0_PG
        return other.can_be and not (is_paging and (self.efer ^ other.efer) & x86.EFER_LME)


def are_lawful(rows: Rows) -> bool:
    """Whether each vCPU has such registers from its start on."""
    now: dict[int, Registers] = {}
    for ops, count in rows:
        for at in np.flatnonzero(np.isin(ops.kind[:count], _WRITES)).tolist():
            kind, vcpu, a = int(ops.kind[at]), int(ops.vcpu[at]), int(ops.a[at])
            before = now.get(vcpu, Registers())
            if kind in {op.BOOT, op.SREGS}:
                after = Registers(a & _LOW, a >> 32 & _LOW, int(ops.want[at]))
                if not after.can_be:
                    return False
            else:
                name = {op.SET_CR0: "cr0", op.SET_CR4: "cr4"}.get(kind, "efer")
                after = before._replace(**{name: a & _LOW})
                if not before.may_become(after):
                    return False
            now[vcpu] = after
    return True
