"""What a capture tool would see of the guest, by the rule of the project's own captures.

An access is an event when it is the first of its kind (read, write or fetch, by kernel or program)
to a page in an epoch of its vCPU. Loading CR0, CR3 or CR4 begins a new epoch; INVLPG and a change
of a page's entry forget that page, a change of an upper entry forgets all. A store to a table is an
event while the table is tracked: from when a tracked table or CR3 first points to it, at which its
content is recorded, to when it is freed.
"""

from __future__ import annotations

from refault.replay import x86
from refault.replay.compile.jit import kernel
from refault.synth import words as w
from refault.synth.kernels.frames import field
from refault.synth.words import Guest
from refault.trace import EventKind

ACCESS = int(EventKind.ACCESS)
TABLE_STORE = int(EventKind.TABLE_STORE)
CR = int(EventKind.CR)
INVLPG = int(EventKind.INVLPG)
TABLE_SNAPSHOT = int(EventKind.TABLE_SNAPSHOT)
TABLE_ENTRY = int(EventKind.TABLE_ENTRY)
TABLE_DROP = int(EventKind.TABLE_DROP)

READ = 0
WRITE = 1
FETCH = 2
USER = 4

WORDS_PER_FRAME = 512
HALF_SHIFT = 2  # log2 of the size of half an entry of PAE
KERNEL_STEP = 6  # instructions for each access of the kernel
DROPPED_CLEARED = 1
DROPPED_FREED = 3


@kernel
def emit(g: Guest, kind: int, vcpu: int, flags: int, aux: int, a: int, b: int) -> None:
    """Append an event, unless the columns are full, which stops the guest."""
    at = g.state[w.EVENTS]
    if at >= g.state[w.CAPACITY]:
        g.state[w.STOPPED] = w.COLUMNS_FULL
        return
    g.kind[at] = kind
    g.vcpu[at] = vcpu
    g.flags[at] = flags
    g.aux[at] = aux
    g.insns[at] = g.state[w.CLOCK]
    g.a[at] = a
    g.b[at] = b
    g.state[w.CLOCK] = 0
    g.state[w.EVENTS] = at + 1


@kernel
def index_of(g: Guest, va: int, level: int) -> int:
    """The index of an address in its table of that level."""
    bits = g.state[w.INDEX_BITS]
    return (va >> (x86.PAGE_SHIFT + bits * (level - 1))) & ((1 << bits) - 1)


@kernel
def entry_of(g: Guest, frame: int, index: int) -> int:
    """One entry of a table."""
    if g.state[w.ENTRY_SHIFT] == 3:
        return g.memory[frame * WORDS_PER_FRAME + index]
    word = g.memory[frame * WORDS_PER_FRAME + (index >> 1)]
    return (word >> (32 * (index & 1))) & x86.U32


@kernel
def put_entry(g: Guest, frame: int, index: int, value: int) -> None:
    """Change an entry in memory; nothing is recorded."""
    place = frame * WORDS_PER_FRAME + index
    if g.state[w.ENTRY_SHIFT] == 3:
        g.memory[place] = value
        return
    place = frame * WORDS_PER_FRAME + (index >> 1)
    if index & 1:
        high = value & 0x7FFF_FFFF
        word = (g.memory[place] & x86.U32) | high << 32
        g.memory[place] = word | x86.NX if value >> 31 & 1 else word
    else:
        g.memory[place] = (g.memory[place] >> 32 << 32) | value


@kernel
def frame_in(entry: int) -> int:
    """The frame an entry points to."""
    return (entry & x86.FRAME_MASK) >> x86.PAGE_SHIFT


@kernel
def is_leaf(entry: int, level: int) -> bool:
    """Does a present entry map a page, and not a table?"""
    return level == 1 or (level <= 3 and entry & x86.LARGE != 0)


@kernel
def walk(g: Guest, vcpu: int, va: int, flags: int) -> int:
    """The address that ``va`` has, or -1 - the page fault's code; sets A and D."""
    state = g.state
    cpu = w.VCPUS + vcpu * w.VCPU_WORDS
    top = state[w.LEVELS]
    code = (flags & WRITE) << 1 | (flags & USER)
    if flags & FETCH and state[w.NX]:
        code |= x86.PF_FETCH
    frame = state[cpu + w.CR3]
    level = top
    rights = x86.WRITABLE | x86.USER
    forbids = 0
    while True:  # one iteration per level
        state[w.WALKED + level] = frame
        entry = entry_of(g, frame, index_of(g, va, level))
        if not entry & x86.PRESENT:
            return -1 - code
        if not (level == 3 and top == 3):  # a PDPTE of PAE has no rights
            rights &= entry
            forbids |= entry & state[w.NX]
        if is_leaf(entry, level):
            break
        frame = frame_in(entry)
        level -= 1
    user = flags & USER
    guarded = user != 0 or state[cpu + w.CR0] & x86.CR0_WP != 0
    if (
        (user and not rights & x86.USER)
        or (flags & WRITE and not rights & x86.WRITABLE and guarded)
        or (flags & FETCH and forbids)
    ):
        return -1 - (code | x86.PF_PRESENT)
    mark_used(g, va, level, flags & WRITE)
    inside = (1 << (x86.PAGE_SHIFT + state[w.INDEX_BITS] * (level - 1))) - 1
    return (entry & x86.FRAME_MASK & ~inside) | (va & inside)


@kernel
def mark_used(g: Guest, va: int, leaf: int, writes: int) -> None:
    """Set A in the entries of the latest walk, and D in its last; no event: hardware does it."""
    top = g.state[w.LEVELS]
    for level in range(leaf, top + 1):
        if level == 3 and top == 3:
            continue
        frame, index = g.state[w.WALKED + level], index_of(g, va, level)
        bits = x86.ACCESSED
        if level == leaf and writes:
            bits |= x86.DIRTY
        entry = entry_of(g, frame, index)
        if entry & bits != bits:
            put_entry(g, frame, index, entry | bits)


@kernel
def place_in_filter(vcpu: int, page: int) -> int:
    """Where the filter keeps a page."""
    at = (page ^ (page >> 14) * 0x9E37) & (w.FILTER_SLOTS - 1)
    return (vcpu * w.FILTER_SLOTS + at) * 2


@kernel
def touch(g: Guest, vcpu: int, va: int, flags: int, aux: int) -> int:
    """An access: 0, or -1 - the code of the page fault it takes."""
    page = va >> x86.PAGE_SHIFT
    bit = 1
    if flags & FETCH:
        bit = 4
    elif flags & WRITE:
        bit = 2
    if flags & USER:
        bit <<= 3
    at = place_in_filter(vcpu, page)
    epoch = g.state[w.VCPUS + vcpu * w.VCPU_WORDS + w.EPOCH]
    known = g.seen[at + 1]
    if g.seen[at] == page and known >> 8 == epoch and known & bit:
        return 0
    return touch_first(g, vcpu, va, flags, aux, bit)


@kernel
def touch_first(g: Guest, vcpu: int, va: int, flags: int, aux: int, bit: int) -> int:
    """An access that the filter has not seen in this epoch."""
    gpa = walk(g, vcpu, va, flags)
    if gpa < 0:
        return gpa
    page = va >> x86.PAGE_SHIFT
    at = place_in_filter(vcpu, page)
    epoch = g.state[w.VCPUS + vcpu * w.VCPU_WORDS + w.EPOCH]
    known = g.seen[at + 1]
    if g.seen[at] != page or known >> 8 != epoch:
        g.seen[at] = page
        known = epoch << 8
    g.seen[at + 1] = known | bit
    if flags & FETCH:
        va &= -4096
        gpa &= -4096
    emit(g, ACCESS, vcpu, flags, aux, va, gpa)
    return 0


@kernel
def forget_page(g: Guest, page: int) -> None:
    """The filters of all vCPUs forget a page."""
    for vcpu in range(g.state[w.VCPU_COUNT]):
        at = place_in_filter(vcpu, page)
        if g.seen[at] == page:
            g.seen[at + 1] = 0


@kernel
def forget_all(g: Guest) -> None:
    """All vCPUs begin a new epoch."""
    for vcpu in range(g.state[w.VCPU_COUNT]):
        g.state[w.VCPUS + vcpu * w.VCPU_WORDS + w.EPOCH] += 1


@kernel
def kernel_touch(g: Guest, vcpu: int, va: int, flags: int) -> None:
    """An access of the kernel to its own memory, which never faults."""
    g.state[w.CLOCK] += KERNEL_STEP
    if touch(g, vcpu, va, flags, 3) < 0:
        g.state[w.STOPPED] = w.REFUSED_ACCESS


@kernel
def touch_frame(g: Guest, vcpu: int, frame: int, flags: int) -> None:
    """An access of the kernel to a frame, through its map of all memory."""
    kernel_touch(g, vcpu, g.state[w.DIRECT] + (frame << x86.PAGE_SHIFT), flags)


@kernel
def snapshot_one(g: Guest, vcpu: int, frame: int) -> None:
    """Record a table's content; from now on its stores are events."""
    g.frames[field(frame, w.TRACKED)] = 1
    base = frame * WORDS_PER_FRAME
    count = 0
    for i in range(WORDS_PER_FRAME):
        if g.memory[base + i]:
            count += 1
    gpa = frame << x86.PAGE_SHIFT
    level = g.frames[field(frame, w.LEVEL)]
    emit(g, TABLE_SNAPSHOT, vcpu, 0, level, gpa, count)
    for i in range(WORDS_PER_FRAME):
        if g.memory[base + i]:
            emit(g, TABLE_ENTRY, vcpu, 0, 0, gpa + 8 * i, g.memory[base + i])


@kernel
def snapshot(g: Guest, vcpu: int, top: int) -> None:
    """Record a table and the tables below it that are not tracked yet."""
    state = g.state
    snapshot_one(g, vcpu, top)
    level = g.frames[field(top, w.LEVEL)]
    highest = level
    state[w.SNAPPED + level] = top
    state[w.DEPTH + level] = 0
    entries = 1 << state[w.INDEX_BITS]
    while level <= highest:  # one iteration per entry
        if level == 1 or state[w.DEPTH + level] == entries:
            level += 1
            continue
        index = state[w.DEPTH + level]
        state[w.DEPTH + level] = index + 1
        entry = entry_of(g, state[w.SNAPPED + level], index)
        if not entry & x86.PRESENT or is_leaf(entry, level):
            continue
        child = frame_in(entry)
        if g.frames[field(child, w.TRACKED)]:
            continue
        snapshot_one(g, vcpu, child)
        level -= 1
        state[w.SNAPPED + level] = child
        state[w.DEPTH + level] = 0


@kernel
def is_in_halves(level: int, old: int, value: int) -> bool:
    """Whether a 32-bit kernel writes an entry of PAE by words of 4 bytes.

    As Linux does (``pgtable-3level.h``): ``set_pte`` and the clearing of an entry take two, a bit
    that changes one; upper entries, and one that stays present and changes in both halves, are
    written by CMPXCHG8B.
    """
    if level > 1:
        return level == 2 and value == 0
    is_present = old & value & x86.PRESENT
    return not is_present or (old ^ value) >> 32 == 0


@kernel
def emit_halves(g: Guest, vcpu: int, level: int, gpa: int, old: int, value: int) -> None:
    """The words in such an order that no half of an entry is ever present without the other."""
    low, high = value & 0xFFFF_FFFF, value >> 32 & 0xFFFF_FFFF
    aux = HALF_SHIFT | level << 4
    if old & value & x86.PRESENT:
        emit(g, TABLE_STORE, vcpu, 0, aux, gpa, low)
    elif value == 0:
        emit(g, TABLE_STORE, vcpu, 0, aux, gpa, low)
        g.state[w.CLOCK] += 1
        emit(g, TABLE_STORE, vcpu, 0, aux, gpa + 4, high)
    else:
        emit(g, TABLE_STORE, vcpu, 0, aux, gpa + 4, high)
        g.state[w.CLOCK] += 1
        emit(g, TABLE_STORE, vcpu, 0, aux, gpa, low)


@kernel
def store_entry(g: Guest, vcpu: int, frame: int, index: int, value: int) -> None:
    """The kernel stores an entry: an access, and if the table is tracked a table store."""
    shift = g.state[w.ENTRY_SHIFT]
    gpa = (frame << x86.PAGE_SHIFT) + (index << shift)
    kernel_touch(g, vcpu, g.state[w.DIRECT] + gpa, WRITE)
    old = entry_of(g, frame, index)
    put_entry(g, frame, index, value)
    if old == 0 and value != 0:
        g.frames[field(frame, w.LIVE)] += 1
    elif old != 0 and value == 0:
        g.frames[field(frame, w.LIVE)] -= 1
    if not g.frames[field(frame, w.TRACKED)]:
        return
    level = g.frames[field(frame, w.LEVEL)]
    if shift == 3 and g.state[w.LEVELS] == x86.PAE_LEVELS and is_in_halves(level, old, value):
        emit_halves(g, vcpu, level, gpa, old, value)
    else:
        emit(g, TABLE_STORE, vcpu, 0, shift | level << 4, gpa, value)
    if level > 1 and value & x86.PRESENT and not is_leaf(value, level):
        child = frame_in(value)
        if not g.frames[field(child, w.TRACKED)]:
            snapshot(g, vcpu, child)
    if old & x86.PRESENT and old != value:
        if level == 1:
            forget_page(g, (g.frames[field(frame, w.BASE)] >> x86.PAGE_SHIFT) + index)
        else:
            forget_all(g)


@kernel
def drop(g: Guest, vcpu: int, frame: int, reason: int) -> None:
    """A frame is no page table any more."""
    if g.frames[field(frame, w.TRACKED)]:
        g.frames[field(frame, w.TRACKED)] = 0
        level = g.frames[field(frame, w.LEVEL)]
        emit(g, TABLE_DROP, vcpu, 0, reason, frame << x86.PAGE_SHIFT, level)
    g.frames[field(frame, w.LEVEL)] = 0


@kernel
def load_root(g: Guest, vcpu: int, root: int) -> None:
    """MOV to CR3."""
    if not g.frames[field(root, w.TRACKED)]:
        snapshot(g, vcpu, root)
    cpu = w.VCPUS + vcpu * w.VCPU_WORDS
    emit(g, CR, vcpu, 0, 3, root << x86.PAGE_SHIFT, 0)
    g.state[cpu + w.CR3] = root
    g.state[cpu + w.EPOCH] += 1


@kernel
def toggle_global(g: Guest, vcpu: int) -> None:
    """Flush all translations, global ones too: CR4.PGE off and on again."""
    cpu = w.VCPUS + vcpu * w.VCPU_WORDS
    cr4 = g.state[cpu + w.CR4]
    emit(g, CR, vcpu, 0, 4, cr4 & ~x86.CR4_PGE, 0)
    g.state[w.CLOCK] += 2
    emit(g, CR, vcpu, 0, 4, cr4, 0)
    g.state[cpu + w.EPOCH] += 1


@kernel
def invalidate(g: Guest, vcpu: int, va: int) -> None:
    """INVLPG."""
    g.state[w.CLOCK] += 3
    cr3 = g.state[w.VCPUS + vcpu * w.VCPU_WORDS + w.CR3]
    emit(g, INVLPG, vcpu, 0, 0, va, cr3 << x86.PAGE_SHIFT)
    at = place_in_filter(vcpu, va >> x86.PAGE_SHIFT)
    if g.seen[at] == va >> x86.PAGE_SHIFT:
        g.seen[at + 1] = 0
