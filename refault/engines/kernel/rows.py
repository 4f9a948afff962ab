"""Rows of a block, as the program takes them: copied into the channel, column by column."""

from __future__ import annotations

from typing import Any, NamedTuple

from refault.replay import operations as op
from refault.replay.compile.jit import INTERPRETED, bare, door


class Rows(NamedTuple):
    """The columns of the channel that a program reads, under the names of an operation's."""

    kind: Any
    vcpu: Any
    user: Any
    aux: Any
    cls: Any
    a: Any
    b: Any
    want: Any


def give(ops: op.Operations, rows: Rows, start: int, end: int) -> bool:
    """Copy rows ``start`` to ``end`` - 1; answers if one of them is to be checked first.

    Those that make vCPUs or memory are: a host refuses what no host can have.
    """
    if INTERPRETED:
        for name, column in zip(Rows._fields, rows, strict=True):
            column[start:end] = getattr(ops, name)[start:end]
        kinds = ops.kind[start:end]
        return any(kind in kinds for kind in (op.VM, op.MEM, op.MEM_DELETE))
    return bool(copy(ops, rows, start, end))


@door
def copy(ops: op.Operations, rows: Rows, start: int, end: int) -> bool:
    """The same, compiled."""
    ops, rows = bare(ops), bare(rows)
    found = False
    for i in range(start, end):
        kind = ops.kind[i]
        rows.kind[i] = kind
        found |= kind == op.VM or kind == op.MEM or kind == op.MEM_DELETE
    # A loop each: that is a copy of memory to the compiler, and all in one are not.
    for i in range(start, end):
        rows.vcpu[i] = ops.vcpu[i]
    for i in range(start, end):
        rows.user[i] = ops.user[i]
    for i in range(start, end):
        rows.aux[i] = ops.aux[i]
    for i in range(start, end):
        rows.cls[i] = ops.cls[i]
    for i in range(start, end):
        rows.a[i] = ops.a[i]
    for i in range(start, end):
        rows.b[i] = ops.b[i]
    for i in range(start, end):
        rows.want[i] = ops.want[i]
    return found
