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
    # Column by column, which is the C library's copy of memory: that does not read what it is
    # about to overwrite, in the cache of another core.
    for name, column in zip(Rows._fields, rows, strict=True):
        column[start:end] = getattr(ops, name)[start:end]
    if INTERPRETED:
        kinds = ops.kind[start:end]
        return any(kind in kinds for kind in (op.VM, op.MEM, op.MEM_DELETE))
    return bool(are_special(ops, start, end))


@door
def are_special(ops: op.Operations, start: int, end: int) -> bool:
    """Whether a row makes vCPUs or memory, compiled."""
    ops = bare(ops)
    found = False
    for i in range(start, end):
        kind = ops.kind[i]
        found |= (kind == op.VM) | (kind == op.MEM) | (kind == op.MEM_DELETE)
    return found
