"""Judges the outcomes of an engine whose host is not an array: a tree's own code, or no host.

What is known of such a run is how each operation came out. The guest is run beside it by the rules
of the architecture alone: its registers by its own writes, its memory by the stores where the run
says that they went. An access is then held to the guest's tables and what they were since the
vCPU's last flush (F-T5), and a register write to the architecture (F-P1).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from refault.engines.audit import words as au
from refault.engines.audit.found import report
from refault.engines.audit.outcome import (
    access_is_allowed,
    note_flush,
    note_invlpg,
    remember,
    write_flushes,
)
from refault.engines.audit.words import Audit
from refault.engines.walk import words as arch
from refault.engines.walk.loop import operation
from refault.engines.walk.paging import frame_of, read_word, write_guest, write_word
from refault.engines.walk.words import Machine as Guest
from refault.replay import operations as op
from refault.replay import outcomes as out
from refault.replay import records as rec
from refault.replay import x86
from refault.replay.compile.jit import bare, door, kernel
from refault.trace.format import MAX_SLOTS


class Raw(NamedTuple):
    """The records of a part, unfolded (:mod:`refault.replay.records`), one after another."""

    words: Any


@kernel
def store(a: Audit, g: Guest, gpa: int, size: int, value: int, behind: int) -> None:
    """A store went to ``gpa``: remember what was there."""
    if frame_of(g, gpa >> x86.PAGE_SHIFT) == 0:
        return
    old = read_word(g, gpa & ~7)
    if size == 8:
        write_word(g, gpa & ~7, value)
    else:
        write_guest(g, gpa, size, value)
    if read_word(g, gpa & ~7) != old:
        remember(a, gpa & ~7, old, behind)


@kernel
def judge_row(a: Audit, g: Guest, ops: op.Operations, i: int, code: int, address: int) -> None:
    """Check one row that was executed, and let the guest follow it."""
    kind, vcpu = ops.kind[i], ops.vcpu[i]
    if op.LD <= kind <= op.ST1:
        access_is_allowed(a, g, ops, i, code, address)
        if code == out.OK and kind >= op.ST:
            store(a, g, address, 8 >> (kind - op.ST), ops.b[i], 0)
    elif kind == op.POKE:
        store(a, g, ops.a[i] & ~7, 8, ops.b[i], 1)
    elif kind == op.TABLE_WRITE:
        store(a, g, ops.a[i], ops.aux[i], ops.b[i], 0)
    elif kind == op.INVLPG:
        note_invlpg(a, vcpu, ops.a[i])
    elif kind != op.MEM:
        is_write = op.BOOT <= kind <= op.SET_EFER or kind == op.SREGS
        flushes = is_write and write_flushes(g, kind, vcpu, ops.a[i], ops.b[i], ops.want[i])
        wanted = operation(g, kind, vcpu, ops.user[i], ops.aux[i], ops.a[i], ops.b[i], ops.want[i])
        if op.SET_CR0 <= kind <= op.SET_EFER and (wanted == out.GP) != (code == out.GP):
            report(a, au.P1, vcpu, ops.a[i], code, wanted, kind)
        if flushes and code != out.GP:
            note_flush(a, vcpu, flushes)


@door
def judge_rows(
    g: Guest, a: Audit, ops: op.Operations, raw: Raw, record: int, start: int, end: int, shift: int
) -> int:
    """Check rows ``start`` to ``end`` - 1, whose records begin at ``record``.

    Answers the first row not checked: memory, history, vCPUs or a slot must be made first. The
    number of records used is in ``a.state[RECORDS_USED]``.
    """
    memory_words, past_words, record_words = len(g.mem), len(a.past), len(raw.words)
    g, a, ops, raw = bare(g), bare(a), bare(ops), bare(raw)
    s = a.state
    s[au.RECORDS_USED] = record
    for i in range(start, end):
        kind, aux = ops.kind[i], ops.aux[i]
        is_full = memory_words - g.state[arch.MEM_NEXT] < arch.FRAMES_PER_OPERATION * x86.ENTRIES
        if is_full or past_words - s[au.PAST_NEXT] < 2 * au.PAST_WORDS:
            return i
        if kind == op.VM and g.state[arch.VCPU_COUNT] == 0:
            return i
        slot = arch.SLOTS + aux * arch.SLOT_WORDS
        if kind == op.MEM and (aux >= MAX_SLOTS or not g.state[slot + arch.SLOT_USED]):
            return i
        code, address = out.NONE, 0
        place = s[au.RECORDS_USED] * rec.RECORD_WORDS
        s[au.NOW], s[au.EVENT] = i + shift + 1, ops.event[i]
        if place < record_words and raw.words[place + rec.ROW] == i:
            code, address = raw.words[place + rec.CODE], raw.words[place + rec.ADDRESS]
            s[au.NOW] = raw.words[place + rec.INDEX] + 1
            s[au.RECORDS_USED] += 1
        elif op.LD <= kind <= op.ST1:
            continue  # it was not executed
        s[au.NOW_KIND], s[au.NOW_VCPU] = kind, ops.vcpu[i] | ops.user[i] << 8
        s[au.NOW_A], s[au.NOW_B] = ops.a[i], ops.b[i]
        judge_row(a, g, ops, i, code, address)
    return end
