"""The operations of a small trace in words, with what the real guest saw of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refault.engines.audit.tell import operation_text
from refault.replay import operations as op

if TYPE_CHECKING:
    from refault.shrink.probes import Rows

_ADDRESSES = (op.WITNESS_ACCESS, op.WITNESS_TABLE_STORE, op.WITNESS_SNAPSHOT)


def operation_lines(rows: Rows) -> list[str]:
    """A line for each operation: its number, what it is, and its witness."""
    lines: list[str] = []
    for ops, count in rows:
        for at in range(count):
            who = int(ops.vcpu[at]) | int(ops.user[at]) << 8
            text = operation_text(int(ops.kind[at]), who, int(ops.a[at]), int(ops.b[at]))
            if ops.kind[at] in {op.BOOT, op.SREGS}:
                text += f" cr3 {int(ops.b[at]):#x}"
            elif ops.kind[at] == op.VM:
                text += f" {int(ops.a[at])} vCPU"
            elif ops.kind[at] == op.MEM:
                text += f" slot {int(ops.aux[at])}: {int(ops.b[at])} pages, gfn {int(ops.a[at]):#x}"
            if ops.cls[at] in _ADDRESSES:
                text += f"  reaches {int(ops.want[at]):#x}"
            elif ops.cls[at] == op.WITNESS_FAULT:
                text += f"  #PF {int(ops.want[at])}"
            lines.append(f"{len(lines):6}  {text}")
    return lines
