"""Page tables that hold every combination of flags, and the addresses that reach them.

Written from the manuals like the oracle, and used to feed it: no constant is the simulator's.
"""

import itertools
from dataclasses import dataclass, field

P, W, U, A, D, PS, G = 1, 2, 4, 0x20, 0x40, 0x80, 0x100
NX = 1 << 63
WP, PG = 1 << 16, 1 << 31
PSE, PAE, PGE = 0x10, 0x20, 0x80
LME, LMA, NXE = 0x100, 0x400, 0x800
KIB4, MIB, GIB = 1 << 12, 1 << 20, 1 << 30


@dataclass(frozen=True)
class Paging:
    """One paging mode: its levels, what may map a page, and the registers that choose it."""

    name: str
    shifts: dict[int, int]  # level → lowest bit of the address that indexes it; top first
    page_levels: frozenset[int]  # above 1
    entry_bytes: int
    cr4: int
    efer: int
    #: Bits that are reserved whatever the registers say, in (level, is it a page).
    reserved: dict[tuple[int, bool], tuple[int, ...]]

    @property
    def has_nx(self):
        return self.entry_bytes == 8

    def registers(self, cr3, *, wp, nxe, extra_cr4=0):
        """What a ``boot`` takes."""
        return {
            "cr0": 0x33 | (PG if self.shifts else 0) | (WP if wp else 0),
            "cr3": cr3,
            "cr4": self.cr4 | extra_cr4,
            "efer": self.efer | (NXE if nxe else 0),
        }


_HIGH = tuple(range(40, 52))
_PAE_HIGH = tuple(range(40, 63))
LONG = Paging(
    "long",
    {4: 39, 3: 30, 2: 21, 1: 12},
    frozenset({2, 3}),
    8,
    PAE,
    LME | LMA,
    {
        (4, False): (7, *_HIGH),
        (3, False): _HIGH,
        (3, True): (*range(13, 30), *_HIGH),
        (2, False): _HIGH,
        (2, True): (*range(13, 21), *_HIGH),
        (1, True): _HIGH,
    },
)
PAE_PAGING = Paging(
    "PAE",
    {2: 21, 1: 12},
    frozenset({2}),
    8,
    PAE,
    0,
    {
        (2, False): _PAE_HIGH,
        (2, True): (*range(13, 21), *_PAE_HIGH),
        (1, True): _PAE_HIGH,
    },
)
BITS_32 = Paging(
    "32-bit",
    {2: 22, 1: 12},
    frozenset({2}),
    4,
    0,
    0,
    {(2, False): (), (2, True): (21,), (1, True): ()},
)
NO_PAGING = Paging("non-paging", {}, frozenset(), 8, 0, 0, {})


class Frames:
    """Hands out guest memory: tables from 1 MiB, small pages from 32 MiB, large ones above.

    Never one frame twice: two large pages on one frame would share a direct shadow page
    (F-X2), which has a test of its own.
    """

    def __init__(self, size):
        self.size = size
        self.next_table = MIB
        self.next_page = 32 * MIB
        self.next_large_page = 256 * MIB
        self.taken = []

    def table(self):
        self.next_table += KIB4
        assert self.next_table <= 32 * MIB
        return self.next_table - KIB4

    def page(self, size):
        at = self.next_page if size == KIB4 else -(-self.next_large_page // size) * size
        while any(base < at + size and at < base + length for base, length in self.taken):
            at += size
        assert at + size <= (256 * MIB if size == KIB4 else self.size)
        if size == KIB4:
            self.next_page = at + size
        else:
            self.next_large_page = at + size
        return at

    def take(self, base, size):
        """Keep this page out of :meth:`page`'s hands."""
        self.taken.append((base, size))
        return base


@dataclass
class Tables:
    """Guest memory with page tables in it, and the addresses worth accessing."""

    cr3: int
    words: dict[int, int] = field(default_factory=dict)
    gvas: list[int] = field(default_factory=list)

    def put(self, gpa, value, size):
        if size == 8:
            self.words[gpa] = value
            return
        word, shift = gpa & ~7, 8 * (gpa & 4)
        keep = self.words.get(word, 0) & ~(0xFFFF_FFFF << shift)
        self.words[word] = keep | value << shift


@dataclass(frozen=True)
class Item:
    """One entry to lay out: its flags, and the frame it references if that matters."""

    flags: int
    frame: int | None = None


def is_page(paging, level, flags):
    return level == 1 or (level in paging.page_levels and bool(flags & PS))


def is_reserved(paging, level, flags):
    return any(flags >> bit & 1 for bit in paging.reserved[level, is_page(paging, level, flags)])


def lay_out(paging, frames, spec):
    """Tables in which every path through ``spec`` (level → items) exists.

    An entry is followed to a table of the next items unless it is absent or always reserved.
    A 32-bit entry with bit 7 set is both: its frame is 4 MiB and begins with a table, for
    the time CR4.PSE is off.
    """
    tables = Tables(0)
    top = max(paging.shifts)
    root = _table(paging, frames, spec, tables, top, 0)
    tables.cr3 = root
    if paging is PAE_PAGING:
        # The same directory in all four quarters; addresses are spread over them.
        tables.cr3 = frames.table() + 0x60
        for quarter in range(4):
            tables.put(tables.cr3 + 8 * quarter, root | P, 8)
        tables.gvas = [gva | (i & 3) << 30 for i, gva in enumerate(tables.gvas)]
    return tables


def _table(paging, frames, spec, tables, level, prefix, base=None):
    base = frames.table() if base is None else base
    shift = paging.shifts[level]
    # A 4 MiB page may begin with a table: the pages that are accessed lie behind it.
    first = 3 if level == 1 and len(spec[1]) < 500 else 0
    for place, item in enumerate(spec[level]):
        index = place + first
        gva = prefix | index << shift
        entry = item.flags | _target(paging, frames, spec, tables, level, gva, item)
        tables.put(base + index * paging.entry_bytes, entry, paging.entry_bytes)
    return base


def _target(paging, frames, spec, tables, level, gva, item):
    """The frame an entry references; adds the addresses that come to it."""
    live = item.flags & P and not is_reserved(paging, level, item.flags)
    page = is_page(paging, level, item.flags)
    size = 1 << paging.shifts[level]
    offset = 8 * (len(tables.gvas) % 64)
    frame = item.frame
    if page and level == 1:
        tables.gvas.append(canonical(gva | offset))
        if frame is None:
            frame = frames.page(KIB4) if live else 0
    elif page and paging is not BITS_32:
        # The first page of it, and one in its last table.
        tables.gvas.append(canonical(gva | offset))
        tables.gvas.append(canonical(gva | size - KIB4 | offset))
        if frame is None:
            frame = frames.page(size) if live else 0
    elif page and item.flags & P:
        frame = frames.page(size) if frame is None else frame
        # As a link its address goes on below bit 22.
        inside = item.flags & (size - KIB4)
        _table(paging, frames, spec, tables, level - 1, gva, frame | inside)
    elif live:
        frame = _table(paging, frames, spec, tables, level - 1, gva)
    else:
        tables.gvas.append(canonical(gva | 3 << 12 | offset))
        frame = 0 if frame is None else frame
    return frame


def canonical(gva):
    return gva | 0xFFFF << 48 if gva >> 47 & 1 else gva


def combinations(*flags):
    """Every union of some of the flags, ``P`` last so that it varies slowest."""
    return [sum(chosen) for chosen in itertools.product(*((0, flag) for flag in flags))]


def permissive(paging, level):
    """The entry that allows everything and needs no update."""
    return [Item(P | W | U | A | (D if level == 1 else 0))]


def rights(paging):
    """The flags that grant or take rights at every level."""
    return (W, U, NX) if paging.has_nx else (W, U)


def every_right(paging, leaf_level):
    """All combinations of rights over all levels down to a page at ``leaf_level``."""
    spec = {}
    for level in paging.shifts:
        size = PS if level == leaf_level and level > 1 else 0
        dirty = D if level == leaf_level else 0
        spec[level] = [Item(P | A | dirty | size | f) for f in combinations(*rights(paging))]
    if leaf_level == 3:
        spec[3] = one_frame_for_equals(spec[3])
    return spec


def one_frame_for_equals(items):
    """Give 1 GiB entries of equal rights one frame, wherever they are laid out.

    Under upper entries of different rights their shadow pages differ, so nothing is shared;
    and memory for all of them is more than a simulated host may have.
    """
    places = {value: place for place, value in enumerate({i.flags & (W | U | NX) for i in items})}
    return [Item(i.flags, GIB * (2 + places[i.flags & (W | U | NX)])) for i in items]


def every_entry(paging, level):
    """At one level all combinations of all flags and one reserved bit; permissive elsewhere."""
    flags = [P, *rights(paging), A, D, PS]
    if paging is not BITS_32:
        flags += [1 << 40, G]
    elif level == 2:
        flags += [G, 1 << 13, 1 << 21]
    else:
        flags += [G, 1 << 9, 1 << 10]
    items = [
        Item(value)
        for value in combinations(*flags)
        # A 1 GiB page is a lot of memory: those with G stand in every_bit() only.
        if not (level == 3 and value & PS and value & G)
    ]
    spec = {other: permissive(paging, other) for other in paging.shifts}
    return spec | {level: items}


def every_trace_of_use(paging, leaf_level):
    """All combinations of A over all levels, and D at a page of ``leaf_level``."""
    spec = {level: [Item(P | W | U), Item(P | W | U | A)] for level in paging.shifts}
    size = PS if leaf_level > 1 else 0
    spec[leaf_level] = [Item(P | W | U | size | f) for f in combinations(A, D)]
    return spec


def every_pair(paging, upper, lower):
    """Rights at one level × presence, rights, size and a reserved bit at a lower one."""
    spec = {level: permissive(paging, level) for level in paging.shifts}
    flags = rights(paging)
    reserved = [1 << 51] if paging.has_nx else [1 << 21] if lower == 2 else []
    spec[upper] = [Item(P | A | f) for f in combinations(*flags)]
    # Without D a page loses W, and might share the shadow page of one that has none.
    spec[lower] = [Item(A | D | f) for f in combinations(P, *flags, PS, *reserved)]
    if lower == 3:
        spec[3] = one_frame_for_equals(spec[3])
    return spec


def every_bit(paging, frames, level):
    """An entry that allows everything, with each single bit turned over; as link and as page.

    The address bits of a link are left alone: where else it leads is another table's matter.
    """
    width = 8 * paging.entry_bytes
    items = []
    if level > 1:
        link = P | W | U | A
        address = range(12, min(width, 40))
        items += [Item(link ^ 1 << bit) for bit in range(width) if bit not in address]
    if level == 1 or level in paging.page_levels:
        page = P | W | U | A | D | (PS if level > 1 else 0)
        shift = paging.shifts[level]
        base = 24 * GIB if shift == 30 else 0x1800_0000
        for bit in range(width):
            if shift <= bit < min(width, 40):
                frame = frames.take(base ^ 1 << bit, 1 << shift)
                items.append(Item(page, frame))
            else:
                items.append(Item(page ^ 1 << bit))
    spec = {other: permissive(paging, other) for other in paging.shifts}
    return spec | {level: items}
