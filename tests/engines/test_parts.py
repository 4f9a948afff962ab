"""Parts of the simulator against a plainer way to say the same."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from refault.catalogue import PatchSet, resolve
from refault.engines.shadow.arch import guest as guest_memory
from refault.engines.shadow.kvm import parents, rmap, unsync
from refault.engines.shadow.state import machine, pageset, words
from refault.replay import x86
from refault.replay.compile.jit import door

KNOBS = resolve(PatchSet()).knobs
add_parent, remove_parent = door(parents.add_parent.py_func), door(parents.remove_parent.py_func)
count_parents = door(parents.count_parents.py_func)
next_bit = door(unsync.next_bit.py_func)
merged_word = door(guest_memory.merged_word.py_func)
rmap_add, rmap_remove = door(rmap.rmap_add.py_func), door(rmap.rmap_remove.py_func)


def host():
    m = machine.create(KNOBS, bypass=0, interpreted=False)
    return machine.add_slot(m, 0, 0, 1024, 1)


@given(st.binary(max_size=300))
def test_the_page_digest_is_fnv1a_64(text):
    state = 0xCBF29CE484222325
    for byte in text:
        state = (state ^ byte) * 0x100000001B3 % (1 << 64)
    got = pageset.fnv1a(np.frombuffer(text, np.uint8), 0xCBF29CE4, 0x84222325)
    assert got % (1 << 64) == state


@given(
    st.integers(0, (1 << 64) - 1),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(0, 7),
    st.integers(0, (1 << 64) - 1),
)
def test_a_store_changes_its_own_bytes_only(keep, size, place, value):
    place -= place % size
    expected = bytearray(keep.to_bytes(8, "little"))
    expected[place : place + size] = value.to_bytes(8, "little")[:size]
    signed = [word - (1 << 64) if word >> 63 else word for word in (keep, value)]
    got = merged_word(signed[0], 0x1000 + place, size, signed[1])
    assert (got % (1 << 64)).to_bytes(8, "little") == bytes(expected)


@given(st.sets(st.integers(0, 511)), st.integers(0, 512))
def test_the_next_marked_child_is_found(marks, start):
    m = host()
    for bit in marks:
        m.page[words.BITMAP + (bit >> 5)] |= 1 << (bit & 31)
    assert next_bit(m, 0, start) == min((bit for bit in marks if bit >= start), default=512)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30)), max_size=80))
def test_back_references_hold_every_parent_once(steps):
    m = host()
    before = int(m.vm[words.LINK_FREE_COUNT])
    sp, held = 32, []
    for add, place in steps:
        if add:
            sptep = 1024 * 7 + place
            add_parent(m, sp, sptep)
            held.append(sptep)
        elif held:
            remove_parent(m, sp, held.pop(place % len(held)))
        assert count_parents(m, sp) == len(held)
    for sptep in held:
        remove_parent(m, sp, sptep)
    assert m.page[sp + words.PARENTS] == 0
    assert m.vm[words.LINK_FREE_COUNT] == before
    assert m.vm[words.BUG] == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=120))
def test_the_reverse_map_lists_every_leaf_once(steps):
    m = host()
    before = int(m.vm[words.LINK_FREE_COUNT])
    m.page[32 + words.ROLE] = 1 << words.ROLE_LEVEL_SHIFT
    leaves = set()
    for add, place in steps:
        sptep = 1024 + place
        if add and sptep not in leaves:
            m.spt[sptep] = 5 << 12 | x86.PRESENT
            rmap_add(m, sptep, 5)
            leaves.add(sptep)
        elif not add and sptep in leaves:
            rmap_remove(m, sptep)
            m.spt[sptep] = 0
            leaves.discard(sptep)
    for sptep in sorted(leaves):
        rmap_remove(m, sptep)
        m.spt[sptep] = 0
    slot = words.SLOTS
    assert m.frame[m.vm[slot + words.SLOT_FRAMES] + 5 * words.FRAME_WORDS + words.RMAP] == 0
    assert m.vm[words.LINK_FREE_COUNT] == before
    assert m.vm[words.BUG] == 0
